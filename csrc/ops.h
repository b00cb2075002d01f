// The kernels of all ops, and their autograd, as boxed functions of the dispatcher.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include "arguments.h"

namespace softgate {

// Run one call and return its results. An op that takes `needs` is a backward op, whose results form one list in the
// schema. A forward op writes its first activations into the tensors of `into`, in order, and allocates the others.
std::vector<Tensor> forward(const Arguments& args, at::TensorList into);
std::vector<Tensor> backward(const Arguments& args);

// Updates the running statistics in place with the batch statistics mean and var, of `count` values for each
// channel, and increments `calls`. Without a momentum the running statistics are the average over all calls. Returns
// false, and changes nothing, if no kernel here supports the tensors; the caller then uses PyTorch's own ops.
bool update_running(const Tensor& mean, const Tensor& var, const Tensor& running_mean,
                    const Tensor& running_var, const OptionalTensor& calls,
                    std::optional<double> momentum, int64_t count);

// A convolution for inference (csrc/winograd.cpp). `out` is empty or has one tensor, into which the result is
// written.
Tensor winograd_conv3x3(const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
                        const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
                        int64_t groups, const std::vector<Tensor>& out);

// A boxed kernel: it takes the arguments of an op from the dispatcher's stack and pushes the results.
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

// The autograd kernel of an op, made from the schemas of the op and of its backward op. `name` includes the
// namespace.
torch::CppFunction autograd_of(const std::string& name);

}  // namespace softgate
