// The times that the model of csrc/cuda/model.h predicts for a training call of the ops. The device is described by
// its properties; no GPU is needed.
#pragma once

#include <string>
#include <vector>

#include "args.h"
#include "cuda/plan.h"

namespace softgate {

struct Predicted {
  std::string variant;
  double seconds, bytes;  // bytes: through device memory
  int launches, slices;
  bool chosen;  // whether make_plan chooses this variant
};

// The predictions for every variant that can serve a training call with aligned activations; `split` has the channels
// of the branches. If low_channels > 0, the op is a merge: low is appended to the channels of the skip (concat) or
// added to them. A backward call computes all gradients.
std::vector<Predicted> predictions(bool backward, const Dims& skip, DType dtype,
                                   const std::vector<int64_t>& split, int64_t low_channels, bool concat,
                                   const cuda::Device& device);

}  // namespace softgate
