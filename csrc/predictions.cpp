#include "predictions.h"

#include "cuda/model.h"

namespace softgate {
namespace {

// A plan uses addresses only for their alignment.
void* const kAligned = reinterpret_cast<void*>(256);
const In kIn{kAligned, true};
const Out kOut{kAligned, true};

template <class Call>
std::vector<Predicted> all(const Call& call, const cuda::Device& device) {
  const cuda::Variant chosen = cuda::make_plan(call, device).variant;
  std::vector<Predicted> found;
  for (const cuda::Plan& plan : cuda::make_plans(call, device)) {
    const char* const names[] = {"automatic", "two_pass", "sliced", "resident", "one_pass"};
    const cuda::Prediction p = cuda::predict(plan, call, device);
    found.push_back({names[static_cast<int>(plan.variant)], p.seconds, p.bytes, p.launches, plan.slices,
                     plan.variant == chosen});
  }
  return found;
}

}  // namespace

std::vector<Predicted> predictions(bool backward, const Dims& skip, DType dtype,
                                   const std::vector<int64_t>& split, int64_t low_channels, bool concat,
                                   const cuda::Device& device) {
  Dims dims = skip;
  if (concat) dims.c += low_channels;
  Source source;
  source.skip = kIn;
  source.skip_channels = skip.c;
  source.alpha = kIn;
  source.low_channels = low_channels;
  source.concat = concat;
  for (int64_t width : split) {
    source.branch[source.branches] = backward ? In{} : kIn;
    source.width[source.branches++] = width;
  }
  Norm norm{kIn, kIn, 1e-5};
  norm.training = true;
  if (!backward) {
    if (low_channels > 0) source.low = kIn;
    return all(Forward{dtype, dims, source, norm, kOut, kOut, kOut, kOut}, device);
  }
  Backward call{dtype, dims, source, norm, kIn, kIn, kIn, kIn, kIn, kOut};
  for (int i = 0; i < source.branches; ++i) call.dbranch[i] = kOut;
  if (low_channels > 0) call.dlow = kOut;
  call.dalpha = call.dweight = call.dbias = kOut;
  return all(call, device);
}

}  // namespace softgate
