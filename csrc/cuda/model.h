// The predicted time of a plan on a device, from quantities that can be counted without a GPU: bytes, instructions,
// dependent loads, barriers and launches. make_plan takes the plan with the smallest prediction. docs/cuda.md has a
// table of predictions, to be compared with measurements. This is plain C++, like plan.h.
#pragma once

#include "plan.h"

namespace softgate::cuda {

struct Prediction {
  double seconds;
  double bytes;  // activations that move from and to device memory; per-channel vectors and partial sums are ignored
  int launches;
};

// The model assumes that no tensor of the call is in L2 at the start.
Prediction predict(const Plan& plan, const Forward& call, const Device& device);
Prediction predict(const Plan& plan, const Backward& call, const Device& device);

}  // namespace softgate::cuda
