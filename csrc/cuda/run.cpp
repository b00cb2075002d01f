#include "run.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <atomic>
#include <stdexcept>

#include "../errors.h"
#include "launch.h"

namespace softgate::cuda {
namespace {

std::atomic<Variant> forced{Variant::automatic};

// One bit for each device that has refused a cooperative launch. It is not tried there again.
std::atomic<uint64_t> without_grids{0};

// The workspace is allocated by PyTorch's caching allocator on the current stream. Calls on different streams, and
// calls inside the capture of a CUDA graph, therefore never share it.
template <class Call>
void run_on(const Call& call, const at::Tensor& on) {
  const c10::cuda::CUDAGuard guard(on.device());
  Device device = current_device();
  const uint64_t bit = uint64_t(1) << on.get_device();
  if (without_grids & bit) device.cooperative = 0;
  const bool grids = device.cooperative > 0;
  at::Tensor workspace;
  const auto allocate = [&](size_t bytes) {
    workspace = at::empty({static_cast<int64_t>(bytes)}, on.options().dtype(at::kByte));
    return workspace.mutable_data_ptr();
  };
  try {
    plan_and_launch(call, device, forced, c10::cuda::getCurrentCUDAStream().stream(), allocate);
  } catch (const std::invalid_argument& refusal) {  // the launchers have no torch header, so no InputError
    throw InputError(refusal.what());
  }
  if (grids && device.cooperative == 0) without_grids |= bit;
}

}  // namespace

void run(const Forward& call, const at::Tensor& on) { run_on(call, on); }

void run(const Backward& call, const at::Tensor& on) { run_on(call, on); }

void run(const Running& update, const at::Tensor& on) {
  const c10::cuda::CUDAGuard guard(on.device());
  launch(update, c10::cuda::getCurrentCUDAStream().stream());
}

void force_variant(std::string_view name) {
  constexpr std::pair<std::string_view, Variant> kVariants[] = {
      {"automatic", Variant::automatic},
      {"two_pass", Variant::two_pass},
      {"sliced", Variant::sliced},
      {"resident", Variant::resident},
  };
  for (const auto& [known, variant] : kVariants) {
    if (name != known) continue;
    forced = variant;
    return;
  }
  SOFTGATE_CHECK(false, "variant must be automatic, two_pass, sliced or resident, got '", name, "'");
}

}  // namespace softgate::cuda
