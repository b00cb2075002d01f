#include "run.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <stdexcept>

#include "../errors.h"
#include "launch.h"

namespace softgate::cuda {
namespace {

// Scratch memory comes from the caching allocator on the current stream, so that calls on several
// streams, or inside a graph's capture, never share it.
template <class Call>
void run_on(const Call& call, const at::Tensor& on,
            void (*launch)(const Call&, const Device&, void*, Stream)) {
  const c10::cuda::CUDAGuard guard(on.device());
  const Device& device = current_device();
  try {
    const auto bytes = static_cast<int64_t>(workspace_bytes(call, device));
    const at::Tensor workspace = at::empty({bytes}, on.options().dtype(at::kByte));
    launch(call, device, workspace.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream().stream());
  } catch (const std::invalid_argument& refusal) {  // the launchers know nothing of torch
    throw InputError(refusal.what());
  }
}

}  // namespace

void run(const Forward& call, const at::Tensor& on) { run_on<Forward>(call, on, forward); }

void run(const Backward& call, const at::Tensor& on) { run_on<Backward>(call, on, backward); }

void force_variant(std::string_view name) {
  constexpr std::pair<std::string_view, Variant> kVariants[] = {
      {"automatic", Variant::automatic},
      {"two_pass", Variant::two_pass},
      {"sliced", Variant::sliced},
      {"resident", Variant::resident},
  };
  for (const auto& [known, variant] : kVariants) {
    if (name == known) return force_variant(variant);
  }
  SOFTGATE_CHECK(false, "variant must be automatic, two_pass, sliced or resident, got '", name, "'");
}

}  // namespace softgate::cuda
