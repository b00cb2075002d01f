// How long a plan takes on a device, predicted from what can be counted without one: bytes, instructions,
// loads that wait for each other, barriers and launches. `auto` takes the plan of the smallest prediction;
// docs/cuda.md has the table that a GPU confirms or refutes. Plain C++, as plan.h.
#pragma once

#include "plan.h"

namespace softgate::cuda {

struct Prediction {
  double seconds;
  double bytes;  // through device memory, per-channel vectors and partial sums left out
  int launches;
};

// Every tensor of the call is taken to come from device memory.
Prediction predict(const Plan& plan, const Forward& call, const Device& device);
Prediction predict(const Plan& plan, const Backward& call, const Device& device);

}  // namespace softgate::cuda
