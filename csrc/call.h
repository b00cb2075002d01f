// One call of an op. The class Call owns the tensors behind the pointers of the call's arguments, and run() starts
// the kernels of the device on which the tensors are.
#pragma once

#include <ATen/ops/empty.h>

#include "args.h"
#include "checks.h"
#include "cpu/kernels.h"
#ifdef SOFTGATE_CUDA
#include "cuda/run.h"
#endif

namespace softgate {

inline void run(const Forward& args, const Tensor& on) {
#ifdef SOFTGATE_CUDA
  if (on.is_cuda()) return cuda::run(args, on);
#endif
  checks::on_cpu(on);
  cpu::forward(args);
}

inline void run(const Backward& args, const Tensor& on) {
#ifdef SOFTGATE_CUDA
  if (on.is_cuda()) return cuda::run(args, on);
#endif
  checks::on_cpu(on);
  cpu::backward(args);
}

inline DType dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case at::kDouble: return DType::f64;
    case at::kHalf: return DType::f16;
    case at::kBFloat16: return DType::bf16;
    default: return DType::f32;
  }
}

inline at::ScalarType accumulator(const Tensor& t) {
  return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

inline Out out(const Tensor& t) { return {t.mutable_data_ptr(), true}; }

// Brings all activations of a call to the layout of `like`, the first argument. A tensor is copied only if its layout
// differs or its memory is not aligned to its dtype.
class Call {
 public:
  explicit Call(const Tensor& like)
      : like_(like), layout_(like.suggest_memory_format()), accumulator_(accumulator(like)) {}

  In dense(const Tensor& t) { return {kept(t.contiguous(layout_)).const_data_ptr(), true}; }
  In dense(const OptionalTensor& t) { return t ? dense(*t) : In{}; }

  In vector(const OptionalTensor& t) {
    return t ? In{kept(t->to(accumulator_).contiguous()).const_data_ptr(), true} : In{};
  }

  Tensor activation(at::IntArrayRef size) const {
    return at::empty(size, like_.options().memory_format(layout_));
  }

  // Checks a tensor of the caller into which an activation will be written.
  void check_result(const Tensor& t, at::IntArrayRef size) const {
    checks::result("out", t, like_, size, layout_);
  }

  Tensor statistic(int64_t channels) const {
    return at::empty({channels}, like_.options().dtype(accumulator_));
  }

  Dims dims(int64_t channels) const {
    return {like_.size(0), channels, like_.size(2), like_.size(3),
            layout_ == at::MemoryFormat::ChannelsLast};
  }

  // The part of a Source that forward and backward have in common: the number of channels of the skip, alpha and the
  // mode. The caller adds the tensors.
  Source gate(const Arguments& a, int64_t channels) {
    Source s;
    const OptionalTensor alpha = a.given(Role::alpha);
    s.skip_channels = channels;
    s.alpha = vector(alpha);
    s.alpha_shared = alpha && alpha->size(0) == 1;
    s.concat = a.takes(Role::mode) && a.text(Role::mode) == "concat";
    return s;
  }

  Norm norm(const Arguments& a) {
    return {vector(a.given(Role::weight)), vector(a.given(Role::bias)), a.number(Role::eps),
            a.flag(Role::relu), a.flag(Role::training)};
  }

 private:
  const Tensor& kept(const Tensor& t) { return kept_.emplace_back(aligned(t)); }

  const Tensor& like_;
  at::MemoryFormat layout_;
  at::ScalarType accumulator_;
  std::vector<Tensor> kept_;
};

}  // namespace softgate
