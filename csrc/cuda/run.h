// A call of the ops on a CUDA device: its device, its stream, and scratch memory from torch's pool.
#pragma once

#include <ATen/core/Tensor.h>

#include "../args.h"

namespace softgate::cuda {

void run(const Forward& call, const at::Tensor& on);
void run(const Backward& call, const at::Tensor& on);
void run(const Running& update, const at::Tensor& on);

// Which variant the kernels with batch statistics take from now on: "automatic", "two_pass", "sliced"
// or "resident". For tests and benchmarks.
void force_variant(std::string_view name);

}  // namespace softgate::cuda
