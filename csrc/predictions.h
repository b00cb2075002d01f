// What the model of csrc/cuda/model.h says of a call of the ops with batch statistics, on any device and
// without one.
#pragma once

#include <string>
#include <vector>

#include "args.h"
#include "cuda/plan.h"

namespace softgate {

struct Predicted {
  std::string variant;
  double seconds, bytes;
  int launches, slices;
  bool chosen;
};

// Of a training call whose activations are aligned. With `low_channels`, low joins: behind the skip's
// channels (concat) or added to them. Of a backward call all gradients are wanted.
std::vector<Predicted> predictions(bool backward, const Dims& skip, DType dtype,
                                   const std::vector<int64_t>& split, int64_t low_channels, bool concat,
                                   const cuda::Device& device);

}  // namespace softgate
