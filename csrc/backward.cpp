// The backward ops: checks, the wanted gradients, and one Backward (args.h) for the kernels.
#include "call.h"
#include "checks.h"

namespace softgate {
namespace {

// The wanted gradients of a backward call, in the order of its `needs`.
class Gradients {
 public:
  Gradients(const Call& call, Backward& args) : call_(call), args_(args) {}

  void skip(bool need) {
    if (need) args_.dskip = activation(args_.source.skip_channels, 1);
  }

  void branches(bool need, at::IntArrayRef split) {
    Source& s = args_.source;
    for (int64_t width : split) {
      if (need) args_.dbranch[s.branches] = activation(width, 1);
      s.width[s.branches++] = width;
    }
  }

  void low(bool need) {
    if (need) args_.dlow = activation(args_.source.low_channels, 2);
  }

  void alpha(bool need, const OptionalTensor& alpha) {
    if (need) args_.dalpha = vector(args_.source.skip_channels, *alpha);
  }

  void affine(bool need_weight, bool need_bias, const OptionalTensor& weight,
              const OptionalTensor& bias) {
    if (need_weight) args_.dweight = vector(args_.dims.c, *weight);
    if (need_bias) args_.dbias = vector(args_.dims.c, *bias);
  }

  // Runs the kernels; then each sum in the shape and dtype of its parameter.
  std::vector<Tensor> collect(const Tensor& on) {
    if (on.numel() != 0) run(args_, on);
    for (auto& [index, shape, type] : sums_) {
      Tensor& sum = grads_[index];
      if (on.numel() == 0) sum.zero_();
      if (shape != sum.size(0)) sum = sum.sum(0, /*keepdim=*/true);
      sum = sum.to(type);
    }
    return std::move(grads_);
  }

 private:
  struct Sum {
    size_t index;
    int64_t size;
    at::ScalarType type;
  };

  Out activation(int64_t channels, int64_t shrink) {
    const Dims& d = args_.dims;
    grads_.push_back(call_.activation({d.n, channels, d.h / shrink, d.w / shrink}));
    return out(grads_.back());
  }

  Out vector(int64_t channels, const Tensor& parameter) {
    sums_.push_back({grads_.size(), parameter.size(0), parameter.scalar_type()});
    grads_.push_back(call_.statistic(channels));
    return out(grads_.back());
  }

  const Call& call_;
  Backward& args_;
  std::vector<Tensor> grads_;
  std::vector<Sum> sums_;
};

void check_source_backward(const Tensor& y, int64_t channels, const OptionalTensor& x,
                           std::string_view x_name, const OptionalTensor& alpha,
                           at::IntArrayRef split, bool need_branches, bool need_alpha) {
  TORCH_CHECK_VALUE(split.size() <= kMaxBranches, "split must have at most 4 entries, got ",
                    split.size());
  int64_t total = 0;
  for (int64_t width : split) {
    TORCH_CHECK_VALUE(width > 0 && width <= channels, "split must be counts from 1 to ", channels,
                      " channels, got ", width);
    total += width;
  }
  TORCH_CHECK_VALUE(total == channels || (split.empty() && !need_branches), "split must add up to ", channels,
                    " channels, got ", total);
  checks::gate(alpha, channels, "the gradient", y);
  TORCH_CHECK_VALUE((alpha && x) || !need_alpha, "alpha and ", x_name,
                    " must be given where needs asks for alpha's gradient, got None");
  if (!x) return;
  checks::like(x_name, *x, "the gradient", y);
  const std::array<int64_t, 4> size{y.size(0), channels, y.size(2), y.size(3)};
  TORCH_CHECK_VALUE(x->sizes() == at::IntArrayRef(size), x_name, " must have shape (", size[0], ", ",
                    size[1], ", ", size[2], ", ", size[3], "), got ", checks::shape(*x));
}

void check_norm_backward(const Tensor& dz, std::string_view y_name, const Tensor& y,
                         const Tensor& mean, const Tensor& var, const OptionalTensor& weight,
                         const OptionalTensor& bias, bool need_weight, bool need_bias) {
  checks::activation(y_name, y);
  checks::twin("dz", dz, y_name, y);
  checks::vector("mean", mean, y.size(1), y_name, y);
  checks::vector("var", var, y.size(1), y_name, y);
  checks::vector("weight", weight, y.size(1), y_name, y);
  checks::vector("bias", bias, y.size(1), y_name, y);
  TORCH_CHECK_VALUE((weight || !need_weight) && (bias || !need_bias),
                    "weight and bias must be given where needs asks for their gradients, got None");
}

void fill_norm_backward(Call& call, Backward& args, const Tensor& dz, const Tensor& y,
                        const Tensor& mean, const Tensor& var, const Norm& norm) {
  args.norm = norm;
  args.dz = call.dense(dz);
  args.y = call.dense(y);
  args.mean = call.vector(mean);
  args.var = call.vector(var);
}

int64_t low_channels(const Tensor& y, int64_t channels, std::string_view mode) {
  checks::mode(mode);
  TORCH_CHECK_VALUE(y.size(2) % 2 == 0 && y.size(3) % 2 == 0,
                    "merged must have an even height and width, got shape ", checks::shape(y));
  const int64_t merged = y.size(1);
  const bool fits = mode == "concat" ? channels > 0 && channels < merged : channels == merged;
  TORCH_CHECK_VALUE(fits, "channels must be the channels of skip, within the ", merged,
                    " of merged, got ", channels);
  return mode == "concat" ? merged - channels : merged;
}

}  // namespace

std::vector<Tensor> gated_residual_backward(const Tensor& dy, const OptionalTensor& x,
                                            const OptionalTensor& alpha, at::IntArrayRef split,
                                            const Needs& needs) {
  checks::needs(needs.size(), 3);
  checks::activation("dy", dy);
  check_source_backward(dy, dy.size(1), x, "x", alpha, split, needs[1], needs[2]);
  Call call(dy, dy.suggest_memory_format());
  Backward args{dtype_of(dy), call.dims(dy.size(1)), call.residual(dy.size(1), alpha)};
  args.dy = call.dense(dy);
  if (needs[2]) args.source.skip = call.dense(x);
  Gradients grads(call, args);
  grads.skip(needs[0]);
  grads.branches(needs[1], split);
  grads.alpha(needs[2], alpha);
  return grads.collect(dy);
}

std::vector<Tensor> gated_residual_bn_relu_backward(
    const OptionalTensor& dy, const Tensor& dz, const Tensor& y, const OptionalTensor& x,
    const OptionalTensor& alpha, const Tensor& mean, const Tensor& var, const OptionalTensor& weight,
    const OptionalTensor& bias, bool training, double eps, bool relu, at::IntArrayRef split,
    const Needs& needs) {
  checks::needs(needs.size(), 5);
  check_norm_backward(dz, "y", y, mean, var, weight, bias, needs[3], needs[4]);
  if (dy) checks::twin("dy", *dy, "y", y);
  check_source_backward(y, y.size(1), x, "x", alpha, split, needs[1], needs[2]);
  Call call(y, y.suggest_memory_format());
  Backward args{dtype_of(y), call.dims(y.size(1)), call.residual(y.size(1), alpha)};
  fill_norm_backward(call, args, dz, y, mean, var, call.norm(weight, bias, training, eps, relu));
  args.dy = call.dense(dy);
  if (needs[2]) args.source.skip = call.dense(x);
  Gradients grads(call, args);
  grads.skip(needs[0]);
  grads.branches(needs[1], split);
  grads.alpha(needs[2], alpha);
  grads.affine(needs[3], needs[4], weight, bias);
  return grads.collect(y);
}

std::vector<Tensor> bn_relu_backward(const Tensor& dz, const Tensor& x, const Tensor& mean,
                                     const Tensor& var, const OptionalTensor& weight,
                                     const OptionalTensor& bias, bool training, double eps,
                                     bool relu, const Needs& needs) {
  checks::needs(needs.size(), 3);
  check_norm_backward(dz, "x", x, mean, var, weight, bias, needs[1], needs[2]);
  Call call(x, x.suggest_memory_format());
  Backward args{dtype_of(x), call.dims(x.size(1))};
  fill_norm_backward(call, args, dz, x, mean, var, call.norm(weight, bias, training, eps, relu));
  Gradients grads(call, args);
  grads.branches(needs[0], needs[0] ? at::IntArrayRef(args.dims.c) : at::IntArrayRef());
  grads.affine(needs[1], needs[2], weight, bias);
  return grads.collect(x);
}

std::vector<Tensor> skip_merge_backward(const Tensor& dmerged, const OptionalTensor& skip,
                                        const OptionalTensor& alpha, int64_t channels,
                                        std::string_view mode, at::IntArrayRef split,
                                        const Needs& needs) {
  checks::needs(needs.size(), 4);
  checks::activation("dmerged", dmerged);
  const int64_t low = low_channels(dmerged, channels, mode);
  check_source_backward(dmerged, channels, skip, "skip", alpha, split, needs[1], needs[3]);
  Call call(dmerged, dmerged.suggest_memory_format());
  Backward args{dtype_of(dmerged), call.dims(dmerged.size(1)), call.residual(channels, alpha)};
  args.source.low_channels = low;
  args.source.concat = mode == "concat";
  args.dy = call.dense(dmerged);
  if (needs[3]) args.source.skip = call.dense(skip);
  Gradients grads(call, args);
  grads.skip(needs[0]);
  grads.branches(needs[1], split);
  grads.low(needs[2]);
  grads.alpha(needs[3], alpha);
  return grads.collect(dmerged);
}

std::vector<Tensor> skip_merge_bn_relu_backward(
    const OptionalTensor& dmerged, const Tensor& dz, const Tensor& merged,
    const OptionalTensor& skip, const OptionalTensor& alpha, const Tensor& mean, const Tensor& var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu,
    int64_t channels, std::string_view mode, at::IntArrayRef split, const Needs& needs) {
  checks::needs(needs.size(), 6);
  check_norm_backward(dz, "merged", merged, mean, var, weight, bias, needs[4], needs[5]);
  if (dmerged) checks::twin("dmerged", *dmerged, "merged", merged);
  const int64_t low = low_channels(merged, channels, mode);
  check_source_backward(merged, channels, skip, "skip", alpha, split, needs[1], needs[3]);
  Call call(merged, merged.suggest_memory_format());
  Backward args{dtype_of(merged), call.dims(merged.size(1)), call.residual(channels, alpha)};
  args.source.low_channels = low;
  args.source.concat = mode == "concat";
  fill_norm_backward(call, args, dz, merged, mean, var,
                     call.norm(weight, bias, training, eps, relu));
  args.dy = call.dense(dmerged);
  if (needs[3]) args.source.skip = call.dense(skip);
  Gradients grads(call, args);
  grads.skip(needs[0]);
  grads.branches(needs[1], split);
  grads.low(needs[2]);
  grads.alpha(needs[3], alpha);
  grads.affine(needs[4], needs[5], weight, bias);
  return grads.collect(merged);
}

}  // namespace softgate
