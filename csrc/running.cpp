// The update of a norm's running statistics in training: one pass over per-channel vectors, and one launch
// on a GPU.
#include <c10/core/impl/TorchDispatchModeTLS.h>

#include "call.h"
#include "ops.h"

namespace softgate {
namespace {

// In double and with PyTorch's formula: neither a value near the largest one nor an infinite one becomes NaN.
template <class T, class Statistic>
void update(const Running& r) {
  double weight = r.momentum;
  if (r.calls != nullptr) {
    ++*r.calls;
    if (r.cumulative) weight = 1.0 / static_cast<double>(*r.calls);
  }
  const auto towards = [&](void* running, const void* batch, double factor) {
    T* place = static_cast<T*>(running);
    const auto* value = static_cast<const Statistic*>(batch);
    for (int64_t c = 0; c < r.channels; ++c) {
      const double to = static_cast<double>(value[c]) * factor;
      place[c] = static_cast<T>((1 - weight) * static_cast<double>(place[c]) + weight * to);
    }
  };
  towards(r.running_mean, r.mean, 1);
  towards(r.running_var, r.var, r.unbiased);
}

template <class T>
void update(const Running& r) {
  r.wide ? update<T, double>(r) : update<T, float>(r);
}

void update_on_cpu(const Running& r) {
  switch (r.dtype) {
    case DType::f32: return update<float>(r);
    case DType::f64: return update<double>(r);
    case DType::f16: return update<c10::Half>(r);
    case DType::bf16: return update<c10::BFloat16>(r);
  }
}

// Whether a kernel may write to a tensor directly: it is dense, has this number of values, and no tracer or
// transform needs to see it.
bool plain(const Tensor& t, const Tensor& like, int64_t values) {
  constexpr c10::DispatchKeySet kWatched({c10::DispatchKey::Python, c10::DispatchKey::Functionalize,
                                          c10::DispatchKey::FuncTorchBatched});
  return !t.key_set().has_any(kWatched) && t.device() == like.device() &&
         t.layout() == at::kStrided && t.is_contiguous() && has_memory(t) && !t.is_neg() &&
         is_aligned(t) && t.numel() == values;
}

}  // namespace

bool update_running(const Tensor& mean, const Tensor& var, const Tensor& running_mean,
                    const Tensor& running_var, const OptionalTensor& calls,
                    std::optional<double> momentum, int64_t count) {
  SOFTGATE_CHECK(count > 1, "count must be 2 or more values of a channel, got ", count);
  bool serves = mean.is_cpu() && !c10::impl::TorchDispatchModeTLS::any_modes_set();
#ifdef SOFTGATE_CUDA
  serves = serves || (mean.is_cuda() && !c10::impl::TorchDispatchModeTLS::any_modes_set());
#endif
  for (const Tensor& t : {mean, var, running_mean, running_var}) {
    serves = serves && plain(t, mean, mean.numel());
  }
  serves = serves && running_mean.scalar_type() == running_var.scalar_type() &&
           checks::floating(running_mean.scalar_type());
  serves = serves && mean.scalar_type() == var.scalar_type() &&
           (mean.scalar_type() == at::kFloat || mean.scalar_type() == at::kDouble);
  serves = serves && (!calls || (plain(*calls, mean, 1) && calls->scalar_type() == at::kLong));
  if (!serves) return false;
  const Running r{dtype_of(running_mean),
                  mean.scalar_type() == at::kDouble,
                  mean.numel(),
                  mean.const_data_ptr(),
                  var.const_data_ptr(),
                  running_mean.mutable_data_ptr(),
                  running_var.mutable_data_ptr(),
                  calls ? calls->mutable_data_ptr<int64_t>() : nullptr,
                  momentum.value_or(0),
                  !momentum,
                  double(count) / double(count - 1)};
#ifdef SOFTGATE_CUDA
  mean.is_cuda() ? cuda::run(r, mean) : update_on_cpu(r);
#else
  update_on_cpu(r);
#endif
  // The version counters let autograd detect that saved tensors were changed, as PyTorch's own ops do.
  // Tensors that were made in inference mode have none.
  const auto changed = [](const Tensor& t) {
    if (!t.is_inference()) t.unsafeGetTensorImpl()->bump_version();
  };
  changed(running_mean);
  changed(running_var);
  if (calls) changed(*calls);
  return true;
}

}  // namespace softgate
