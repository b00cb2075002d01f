// The kernels of all ops, and their autograd, as boxed functions of the dispatcher.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include "arguments.h"

namespace softgate {

// What a call returns; an op that takes needs is a backward op, whose results are one list. A forward
// writes its activations into those of `into`, in order, where the caller has memory for them.
std::vector<Tensor> forward(const Arguments& args, at::TensorList into);
std::vector<Tensor> backward(const Arguments& args);

// One more call with these statistics of `count` values a channel; `calls` counts them, and without a
// momentum their average is kept. In place; false, and nothing done, where that takes PyTorch's own ops.
bool update_running(const Tensor& mean, const Tensor& var, const Tensor& running_mean,
                    const Tensor& running_var, const OptionalTensor& calls,
                    std::optional<double> momentum, int64_t count);

// A convolution for inference (csrc/winograd.cpp), into the one tensor of `out` where there is one.
Tensor winograd_conv3x3(const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
                        const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
                        int64_t groups, const std::vector<Tensor>& out);

// Takes the arguments of an op from the stack and leaves its results there.
class Kernel final : public c10::OperatorKernel {
 public:
  explicit Kernel(const c10::FunctionSchema& schema) : signature_(schema) {}

  void operator()(const c10::OperatorHandle&, c10::DispatchKeySet, torch::jit::Stack* stack) const {
    run(*stack);
  }

  void run(torch::jit::Stack& stack, at::TensorList into = {}) const {
    const size_t count = signature_.roles().size();
    const Arguments args(signature_, &stack[stack.size() - count]);
    const bool is_backward = signature_.takes(Role::needs);
    std::vector<Tensor> results = is_backward ? backward(args) : forward(args, into);
    torch::jit::drop(stack, count);
    if (is_backward) return torch::jit::push(stack, std::move(results));
    for (Tensor& result : results) torch::jit::push(stack, std::move(result));
  }

 private:
  Signature signature_;
};

// The autograd of an op, named with its namespace, made from its schema and that of its backward op.
torch::CppFunction autograd_of(const std::string& name);

}  // namespace softgate
