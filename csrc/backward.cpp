// The backward ops: they check, allocate the required gradients, and fill one Backward (args.h).
#include "call.h"
#include "checks.h"
#include "ops.h"

namespace softgate {
namespace {

// The required gradients of a backward call, in the order of its `needs`.
class Gradients {
 public:
  Gradients(const Call& call, const Arguments& a, Backward& args)
      : call_(call), a_(a), args_(args) {}

  void skip() {
    if (a_.wants(Role::x)) args_.dskip = activation(args_.source.skip_channels, 1);
  }

  void branches(bool need, const std::vector<int64_t>& split) {
    Source& s = args_.source;
    for (int64_t width : split) {
      if (need) args_.dbranch[s.branches] = activation(width, 1);
      s.width[s.branches++] = width;
    }
  }

  void low() {
    if (a_.wants(Role::low)) args_.dlow = activation(args_.source.low_channels, 2);
  }

  void vector(Role role, Out& place, int64_t channels) {
    if (a_.wants(role)) place = sum(channels, a_.tensor(role));
  }

  // Runs the kernels, and converts each sum to the shape and dtype of its parameter.
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

  Out sum(int64_t channels, const Tensor& parameter) {
    sums_.push_back({grads_.size(), parameter.size(0), parameter.scalar_type()});
    grads_.push_back(call_.statistic(channels));
    return out(grads_.back());
  }

  const Call& call_;
  const Arguments& a_;
  Backward& args_;
  std::vector<Tensor> grads_;
  std::vector<Sum> sums_;
};

}  // namespace

std::vector<Tensor> backward(const Arguments& a) {
  const int64_t channels = checks::backward(a);
  const bool normed = a.takes(Role::dz), gated = a.takes(Role::alpha);
  const Tensor& y = a.tensor(normed ? Role::y : Role::dy);
  Call call(y);
  Backward args{dtype_of(y), call.dims(y.size(1))};
  if (gated) args.source = call.gate(a, channels);
  if (a.takes(Role::mode)) {
    args.source.low_channels = args.source.concat ? y.size(1) - channels : channels;
  }
  args.dy = call.dense(a.given(Role::dy));
  if (normed) {
    args.norm = call.norm(a);
    args.dz = call.dense(a.tensor(Role::dz));
    args.y = call.dense(y);
    args.mean = call.vector(a.tensor(Role::mean));
    args.var = call.vector(a.tensor(Role::var));
  }
  if (a.wants(Role::alpha)) args.source.skip = call.dense(a.tensor(Role::x));
  Gradients grads(call, a, args);
  if (gated) {
    grads.skip();
    grads.branches(a.wants(Role::branches), a.integers(Role::split));
    grads.low();
    grads.vector(Role::alpha, args.dalpha, channels);
  } else {  // bn_relu: the gradient of the one tensor that was normalised
    grads.branches(a.wants(Role::x), {channels});
  }
  grads.vector(Role::weight, args.dweight, args.dims.c);
  grads.vector(Role::bias, args.dbias, args.dims.c);
  return grads.collect(y);
}

}  // namespace softgate
