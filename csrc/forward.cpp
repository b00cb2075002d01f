// The forward ops: checks, allocation, and one Forward (args.h) for the kernels.
#include "call.h"
#include "checks.h"

namespace softgate {
namespace {

// The statistics of a forward: fresh ones in training, the running ones (and empty results) else.
std::pair<Tensor, Tensor> statistics(Call& call, Forward& args, const OptionalTensor& running_mean,
                                     const OptionalTensor& running_var) {
  const bool training = args.norm.training;
  const int64_t channels = training ? args.dims.c : 0;
  Tensor mean = call.statistic(channels), var = call.statistic(channels);
  if (training && args.dims.count() == 0) {
    mean.zero_();
    var.fill_(1);
  }
  const auto kept = [&](const OptionalTensor& t) { return Out{const_cast<void*>(call.vector(t).data), true}; };
  args.mean = training ? out(mean) : kept(running_mean);
  args.var = training ? out(var) : kept(running_var);
  return {mean, var};
}

}  // namespace

Tensor gated_residual(const Tensor& x, at::TensorList branches, const OptionalTensor& alpha) {
  checks::residual("x", x, branches, alpha, 1);
  Call call(x, x.suggest_memory_format());
  Tensor y = call.activation(x.sizes());
  if (y.numel() == 0) return y;
  Forward args{dtype_of(x), call.dims(x.size(1)), call.residual(x, branches, alpha)};
  args.y = out(y);
  run(args, x);
  return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> gated_residual_bn_relu(
    const Tensor& x, at::TensorList branches, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu) {
  checks::residual("x", x, branches, alpha, 1);
  checks::norm(x.size(1), running_mean, running_var, weight, bias, training, eps, "x", x);
  Call call(x, x.suggest_memory_format());
  Tensor y = call.activation(x.sizes()), z = call.activation(x.sizes());
  Forward args{dtype_of(x), call.dims(x.size(1)), call.residual(x, branches, alpha),
               call.norm(weight, bias, training, eps, relu)};
  auto [mean, var] = statistics(call, args, running_mean, running_var);
  args.y = out(y);
  args.z = out(z);
  if (y.numel() != 0) run(args, x);
  return {y, z, mean, var};
}

std::tuple<Tensor, Tensor, Tensor> bn_relu(const Tensor& x, const OptionalTensor& running_mean,
                                           const OptionalTensor& running_var,
                                           const OptionalTensor& weight, const OptionalTensor& bias,
                                           bool training, double eps, bool relu) {
  checks::activation("x", x);
  checks::norm(x.size(1), running_mean, running_var, weight, bias, training, eps, "x", x);
  Call call(x, x.suggest_memory_format());
  Tensor z = call.activation(x.sizes());
  Source plain;
  plain.branches = 1;
  plain.branch[0] = call.dense(x);
  plain.width[0] = x.size(1);
  Forward args{dtype_of(x), call.dims(x.size(1)), plain,
               call.norm(weight, bias, training, eps, relu)};
  auto [mean, var] = statistics(call, args, running_mean, running_var);
  args.z = out(z);
  if (z.numel() != 0) run(args, x);
  return {z, mean, var};
}

Tensor skip_merge(const Tensor& skip, at::TensorList branches, const Tensor& low,
                  const OptionalTensor& alpha, std::string_view mode) {
  const int64_t channels = checks::merge(skip, low, alpha, mode, branches);
  Call call(skip, skip.suggest_memory_format());
  Tensor merged = call.activation({skip.size(0), channels, skip.size(2), skip.size(3)});
  if (merged.numel() == 0) return merged;
  Forward args{dtype_of(skip), call.dims(channels), call.residual(skip, branches, alpha)};
  call.merge(args.source, low, mode);
  args.y = out(merged);
  run(args, skip);
  return merged;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> skip_merge_bn_relu(
    const Tensor& skip, at::TensorList branches, const Tensor& low, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu,
    std::string_view mode) {
  const int64_t channels = checks::merge(skip, low, alpha, mode, branches);
  checks::norm(channels, running_mean, running_var, weight, bias, training, eps, "skip", skip);
  Call call(skip, skip.suggest_memory_format());
  const std::array<int64_t, 4> size{skip.size(0), channels, skip.size(2), skip.size(3)};
  Tensor merged = call.activation(size), z = call.activation(size);
  Forward args{dtype_of(skip), call.dims(channels), call.residual(skip, branches, alpha),
               call.norm(weight, bias, training, eps, relu)};
  call.merge(args.source, low, mode);
  auto [mean, var] = statistics(call, args, running_mean, running_var);
  args.y = out(merged);
  args.z = out(z);
  if (merged.numel() != 0) run(args, skip);
  return {merged, z, mean, var};
}

}  // namespace softgate
