// Autograd of the ops in C++: softgate_ext/ops/autograd.py says the same for the paths without this
// extension and explains what is saved. Deep levels of a network are small, and there the Python
// version's time per call would outweigh what the kernels save.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "checks.h"
#include "node.h"
#include "ops.h"

namespace softgate {
namespace {

using torch::autograd::Function;

// The op below autograd: the kernel of the device, or a tracer on the way to it.
template <class Signature>
auto op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}
#define SOFTGATE_OP(name)                                                       \
  ([]() -> const auto& {                                                        \
    static const auto handle = op<decltype(softgate::name)>("softgate::" #name); \
    return handle;                                                              \
  }())

// The batch statistics of a forward leave it beside the node, as no loss depends on them.
struct Statistics {
  Tensor mean, var;
};

class GatedResidual : public Function<GatedResidual> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, at::TensorList branches,
                        const OptionalTensor& alpha) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor y = SOFTGATE_OP(gated_residual).call(x, branches, alpha);
    finish(ctx, remember(x, branches), {wants(alpha) ? x : Tensor(), defined(alpha)});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list s = ctx->get_saved_variables();
    const Memory m = Memory::load(ctx);
    Inputs in(ctx);
    in.tensor(true);
    in.tensors(m.split.size());
    in.tensor(s[1].defined());
    in.share_first_two(m, s[1].defined());
    if (!grads[0].defined()) return variable_list(2 + m.split.size());
    return in.spread(SOFTGATE_OP(gated_residual_backward)
                         .call(m.dense(grads[0]), optional(s[0]), optional(s[1]), m.split, in.needs()));
  }
};

class GatedResidualBnRelu : public Function<GatedResidualBnRelu> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, at::TensorList branches,
                               const OptionalTensor& alpha, const OptionalTensor& running_mean,
                               const OptionalTensor& running_var, const OptionalTensor& weight,
                               const OptionalTensor& bias, bool training, double eps, bool relu, Statistics* statistics) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [y, z, mean, var] = SOFTGATE_OP(gated_residual_bn_relu)
                                 .call(x, branches, alpha, running_mean, running_var, weight, bias,
                                       training, eps, relu);
    *statistics = {mean, var};
    Memory m = remember(x, branches);
    m.training = training, m.relu = relu, m.running = running_mean.has_value(), m.eps = eps;
    finish(ctx, m,
           {y, wants(alpha) ? x : Tensor(), defined(alpha), training ? mean : *running_mean,
            training ? var : *running_var, defined(weight), defined(bias)});
    return {y, z};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list s = ctx->get_saved_variables();
    const Memory m = Memory::load(ctx);
    Inputs in(ctx);
    in.tensor(true);
    in.tensors(m.split.size());
    in.tensor(s[2].defined());
    in.share_first_two(m, s[2].defined());
    const Needs source = first(in.needs(), 3);
    in.unwanted(m.running);
    in.unwanted(m.running);
    if (!grads[1].defined()) {
      in.constants(6);
      if (!grads[0].defined()) return variable_list(10 + m.split.size());
      return in.spread(SOFTGATE_OP(gated_residual_backward)
                           .call(m.dense(grads[0]), optional(s[1]), optional(s[2]), m.split, source));
    }
    in.tensor(s[5].defined());
    in.tensor(s[6].defined());
    in.constants(4);
    return in.spread(SOFTGATE_OP(gated_residual_bn_relu_backward)
                         .call(optional(m.dense(grads[0])), m.dense(grads[1]), s[0], optional(s[1]),
                               optional(s[2]), s[3], s[4], optional(s[5]), optional(s[6]), m.training,
                               m.eps, m.relu, m.split, in.needs()));
  }
};

class BnRelu : public Function<BnRelu> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x,
                               const OptionalTensor& running_mean, const OptionalTensor& running_var,
                               const OptionalTensor& weight, const OptionalTensor& bias,
                               bool training, double eps, bool relu, Statistics* statistics) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [z, mean, var] = SOFTGATE_OP(bn_relu).call(x, running_mean, running_var, weight, bias,
                                                    training, eps, relu);
    *statistics = {mean, var};
    Memory m = remember(x, {});
    m.training = training, m.relu = relu, m.running = running_mean.has_value(), m.eps = eps;
    finish(ctx, m,
           {x, training ? mean : *running_mean, training ? var : *running_var, defined(weight),
            defined(bias)});
    return {z};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(9);
    const variable_list s = ctx->get_saved_variables();
    const Memory m = Memory::load(ctx);
    Inputs in(ctx);
    in.tensor(true);
    in.unwanted(m.running);
    in.unwanted(m.running);
    in.tensor(s[3].defined());
    in.tensor(s[4].defined());
    in.constants(4);
    return in.spread(SOFTGATE_OP(bn_relu_backward)
                         .call(m.dense(grads[0]), s[0], s[1], s[2], optional(s[3]), optional(s[4]),
                               m.training, m.eps, m.relu, in.needs()));
  }
};

class SkipMerge : public Function<SkipMerge> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& skip, at::TensorList branches,
                        const Tensor& low, const OptionalTensor& alpha, std::string_view mode) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor merged = SOFTGATE_OP(skip_merge).call(skip, branches, low, alpha, mode);
    Memory m = remember(skip, branches);
    m.add = mode == "add";
    finish(ctx, m, {wants(alpha) ? skip : Tensor(), defined(alpha)});
    return merged;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list s = ctx->get_saved_variables();
    const Memory m = Memory::load(ctx);
    if (!grads[0].defined()) return variable_list(4 + m.split.size());
    Inputs in(ctx);
    in.tensor(true);
    in.tensors(m.split.size());
    in.tensor(true);
    in.tensor(s[1].defined());
    in.share_first_two(m, s[1].defined());
    in.constants(1);
    return in.spread(SOFTGATE_OP(skip_merge_backward)
                         .call(m.dense(grads[0]), optional(s[0]), optional(s[1]), m.channels,
                               m.mode(), m.split, in.needs()));
  }
};

class SkipMergeBnRelu : public Function<SkipMergeBnRelu> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& skip, at::TensorList branches,
                               const Tensor& low, const OptionalTensor& alpha,
                               const OptionalTensor& running_mean, const OptionalTensor& running_var,
                               const OptionalTensor& weight, const OptionalTensor& bias,
                               bool training, double eps, bool relu, std::string_view mode,
                               Statistics* statistics) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [merged, z, mean, var] = SOFTGATE_OP(skip_merge_bn_relu)
                                      .call(skip, branches, low, alpha, running_mean, running_var,
                                            weight, bias, training, eps, relu, mode);
    *statistics = {mean, var};
    Memory m = remember(skip, branches);
    m.training = training, m.relu = relu, m.running = running_mean.has_value(), m.eps = eps;
    m.add = mode == "add";
    finish(ctx, m,
           {merged, wants(alpha) ? skip : Tensor(), defined(alpha), training ? mean : *running_mean,
            training ? var : *running_var, defined(weight), defined(bias)});
    return {merged, z};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list s = ctx->get_saved_variables();
    const Memory m = Memory::load(ctx);
    Inputs in(ctx);
    in.tensor(true);
    in.tensors(m.split.size());
    in.tensor(true);
    in.tensor(s[2].defined());
    in.share_first_two(m, s[2].defined());
    const Needs source = first(in.needs(), 4);
    in.unwanted(m.running);
    in.unwanted(m.running);
    if (!grads[1].defined()) {
      in.constants(7);
      if (!grads[0].defined()) return variable_list(12 + m.split.size());
      return in.spread(SOFTGATE_OP(skip_merge_backward)
                           .call(m.dense(grads[0]), optional(s[1]), optional(s[2]), m.channels,
                                 m.mode(), m.split, source));
    }
    in.tensor(s[5].defined());
    in.tensor(s[6].defined());
    in.constants(5);
    return in.spread(SOFTGATE_OP(skip_merge_bn_relu_backward)
                         .call(optional(m.dense(grads[0])), m.dense(grads[1]), s[0], optional(s[1]),
                               optional(s[2]), s[3], s[4], optional(s[5]), optional(s[6]), m.training,
                               m.eps, m.relu, m.channels, m.mode(), m.split, in.needs()));
  }
};

Tensor gated_residual_autograd(const Tensor& x, at::TensorList branches,
                               const OptionalTensor& alpha) {
  return GatedResidual::apply(x, branches, alpha);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> gated_residual_bn_relu_autograd(
    const Tensor& x, at::TensorList branches, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu) {
  checks::statistics(running_mean, running_var);
  Statistics s;
  const auto v = GatedResidualBnRelu::apply(x, branches, alpha, running_mean, running_var, weight, bias,
                                         training, eps, relu, &s);
  return {v[0], v[1], s.mean, s.var};
}

std::tuple<Tensor, Tensor, Tensor> bn_relu_autograd(
    const Tensor& x, const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu) {
  checks::statistics(running_mean, running_var);
  Statistics s;
  const auto v = BnRelu::apply(x, running_mean, running_var, weight, bias, training, eps, relu, &s);
  return {v[0], s.mean, s.var};
}

Tensor skip_merge_autograd(const Tensor& skip, at::TensorList branches, const Tensor& low,
                           const OptionalTensor& alpha, std::string_view mode) {
  return SkipMerge::apply(skip, branches, low, alpha, mode);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skip_merge_bn_relu_autograd(
    const Tensor& skip, at::TensorList branches, const Tensor& low, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu,
    std::string_view mode) {
  checks::statistics(running_mean, running_var);
  Statistics s;
  const auto v = SkipMergeBnRelu::apply(skip, branches, low, alpha, running_mean, running_var, weight,
                                     bias, training, eps, relu, mode, &s);
  return {v[0], v[1], s.mean, s.var};
}

// A backward op: its own gradient is a clear refusal, when it is asked for.
class NoSecondDerivative : public Function<NoSecondDerivative> {
 public:
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs,
                               const c10::OperatorHandle* op, torch::jit::Stack* stack) {
    at::AutoDispatchBelowADInplaceOrView below;
    const std::string name = op->schema().name();  // softgate::..._backward
    ctx->saved_data["op"] = name.substr(0, name.size() - std::string("_backward").size());
    op->callBoxed(stack);
    return stack->back().toTensorVector();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list&) {
    TORCH_CHECK_VALUE(false, ctx->saved_data["op"].toStringRef(),
                      " has no second derivative: compute it under "
                      "softgate_ext.use_backend('reference')");
  }
};

void backward_autograd(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  variable_list inputs;
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor() && value.toTensor().defined()) inputs.push_back(value.toTensor());
  }
  if (torch::autograd::compute_requires_grad(at::TensorList(inputs))) {
    variable_list grads = NoSecondDerivative::apply(at::TensorList(inputs), &op, stack);
    stack->back() = std::move(grads);
    return;
  }
  at::AutoDispatchBelowADInplaceOrView below;
  op.callBoxed(stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(softgate, Autograd, m) {
  m.impl("gated_residual", &gated_residual_autograd);
  m.impl("gated_residual_bn_relu", &gated_residual_bn_relu_autograd);
  m.impl("bn_relu", &bn_relu_autograd);
  m.impl("skip_merge", &skip_merge_autograd);
  m.impl("skip_merge_bn_relu", &skip_merge_bn_relu_autograd);
  for (const char* name : {"gated_residual", "gated_residual_bn_relu", "bn_relu", "skip_merge",
                           "skip_merge_bn_relu"}) {
    m.impl((std::string(name) + "_backward").c_str(),
           torch::CppFunction::makeFromBoxedFunction<&backward_autograd>());
  }
}

}  // namespace softgate
