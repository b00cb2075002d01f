// Runs a call on a CUDA device: selects the device and PyTorch's current stream, and allocates the workspace with
// PyTorch's caching allocator.
#pragma once

#include <ATen/core/Tensor.h>

#include "../args.h"

namespace softgate::cuda {

// `on` is a tensor on the device of the call.
void run(const Forward& call, const at::Tensor& on);
void run(const Backward& call, const at::Tensor& on);
void run(const Running& update, const at::Tensor& on);

// Forces the variant of all later calls with batch statistics, in this process: "two_pass", "sliced" or "resident".
// "automatic" ends this. For tests and benchmarks.
void force_variant(std::string_view name);

}  // namespace softgate::cuda
