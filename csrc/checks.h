// What the ops accept, said in one sentence per refusal (ValueError in Python).
//
// softgate_ext/ops/checks.py says the same for the paths without a compiled kernel; the tests hold the
// two to the same words.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <optional>
#include <sstream>
#include <string>
#include <string_view>

namespace softgate::checks {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline std::string name(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "float32";
    case at::kDouble: return "float64";
    case at::kHalf: return "float16";
    case at::kBFloat16: return "bfloat16";
    case at::kInt: return "int32";
    case at::kLong: return "int64";
    case at::kShort: return "int16";
    case at::kChar: return "int8";
    case at::kByte: return "uint8";
    case at::kBool: return "bool";
    case at::kComplexFloat: return "complex64";
    case at::kComplexDouble: return "complex128";
    default: return c10::toString(type);
  }
}

inline std::string shape(const Tensor& t) {
  std::ostringstream out;
  out << "(";
  for (int64_t i = 0; i < t.dim(); ++i) out << (i ? ", " : "") << t.size(i);
  out << (t.dim() == 1 ? ",)" : ")");
  return out.str();
}

inline bool floating(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

inline std::string layout(const Tensor& t) {
  std::ostringstream text;
  text << t.layout();
  return text.str();
}

// The memory that a kernel may read: a fake tensor has none, nor has one whose storage was freed, and a
// view that stands for its negative has the wrong values there.
inline bool has_memory(const Tensor& t) {
  return t.has_storage() &&
         t.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get() != nullptr;
}

inline void dense(std::string_view who, const Tensor& t) {
  TORCH_CHECK_VALUE(t.defined(), who, " must be a tensor, got an undefined one");
  TORCH_CHECK_VALUE(!t.is_nested(), who, " must be a dense tensor, got a nested one");
  TORCH_CHECK_VALUE(t.layout() == at::kStrided, who,
                    " must be a dense tensor, got one of layout ", layout(t));
  TORCH_CHECK_VALUE(!t.is_neg(), who, " must hold its own values, got a negated view of others");
  TORCH_CHECK_VALUE(has_memory(t) || t.numel() == 0, who, " must hold values, got a tensor on ",
                    t.device(), " without memory");
}

inline void activation(std::string_view who, const Tensor& t) {
  dense(who, t);
  TORCH_CHECK_VALUE(t.dim() == 4, who, " must be 4-D (N, C, H, W), got shape ", shape(t));
  TORCH_CHECK_VALUE(floating(t.scalar_type()), who,
                    " must be float32, float64, float16 or bfloat16, got ", name(t.scalar_type()));
  TORCH_CHECK_VALUE(t.size(1) > 0, who, " must have at least one channel, got shape ", shape(t));
}

// Of the tensors that no kernel of another device took.
inline void on_cpu(const Tensor& t) {
  TORCH_CHECK_VALUE(t.is_cpu(), "the compiled kernels serve tensors on cpu"
#ifdef SOFTGATE_CUDA
                    " or cuda"
#endif
                    ", got one on ", t.device());
}

inline void device(std::string_view who, const Tensor& t, std::string_view owner_name,
                   const Tensor& owner) {
  TORCH_CHECK_VALUE(t.device() == owner.device(), who, " must be on the device of ", owner_name, ", ",
                    owner.device(), ", got ", t.device());
}

inline void like(std::string_view who, const Tensor& t, std::string_view owner_name,
                 const Tensor& owner) {
  dense(who, t);
  TORCH_CHECK_VALUE(t.scalar_type() == owner.scalar_type(), who, " must have the dtype of ",
                    owner_name, ", ", name(owner.scalar_type()), ", got ", name(t.scalar_type()));
  device(who, t, owner_name, owner);
}

// A tensor that must match another in everything but its strides: the gradients of a backward op.
inline void twin(std::string_view who, const Tensor& t, std::string_view owner_name,
                 const Tensor& owner) {
  like(who, t, owner_name, owner);
  TORCH_CHECK_VALUE(t.sizes() == owner.sizes(), who, " must have the shape of ", owner_name, ", ",
                    shape(owner), ", got ", shape(t));
}

inline void vector(std::string_view who, const OptionalTensor& t, int64_t channels,
                   std::string_view owner_name, const Tensor& owner) {
  if (!t) return;
  dense(who, *t);
  TORCH_CHECK_VALUE(floating(t->scalar_type()), who, " must be floating point, got ",
                    name(t->scalar_type()));
  device(who, *t, owner_name, owner);
  TORCH_CHECK_VALUE(t->dim() == 1 && t->size(0) == channels, who, " must have shape (", channels,
                    ",), one value per channel, got ", shape(*t));
}

inline void gate(const OptionalTensor& alpha, int64_t channels, std::string_view owner_name,
                 const Tensor& owner) {
  if (!alpha) return;
  dense("alpha", *alpha);
  TORCH_CHECK_VALUE(floating(alpha->scalar_type()), "alpha must be floating point, got ",
                    name(alpha->scalar_type()));
  device("alpha", *alpha, owner_name, owner);
  TORCH_CHECK_VALUE(alpha->dim() == 1 && (alpha->size(0) == channels || alpha->size(0) == 1),
                    "alpha must have shape (", channels, ",) or (1,), got ", shape(*alpha));
}

inline void residual(std::string_view who, const Tensor& x, at::TensorList branches,
                     const OptionalTensor& alpha, size_t least) {
  activation(who, x);
  TORCH_CHECK_VALUE(branches.size() >= least && branches.size() <= 4, "branches must be ", least,
                    " to 4 tensors, got ", branches.size());
  int64_t total = 0;
  for (size_t i = 0; i < branches.size(); ++i) {
    const Tensor& b = branches[i];
    const std::string part = "branches[" + std::to_string(i) + "]";
    activation(part, b);
    like(part, b, who, x);
    TORCH_CHECK_VALUE(b.size(0) == x.size(0) && b.size(2) == x.size(2) && b.size(3) == x.size(3),
                      part, " must have shape (", x.size(0), ", *, ", x.size(2), ", ", x.size(3),
                      ") as ", who, ", got ", shape(b));
    total += b.size(1);
  }
  TORCH_CHECK_VALUE(branches.empty() || total == x.size(1), "branches must have ", x.size(1),
                    " channels in all, as ", who, ", got ", total);
  gate(alpha, x.size(1), who, x);
}

inline void mode(std::string_view value) {
  TORCH_CHECK_VALUE(value == "concat" || value == "add", "mode must be 'concat' or 'add', got '",
                    value, "'");
}

// Returns the channels of the merged tensor.
inline int64_t merge(const Tensor& skip, const Tensor& low, const OptionalTensor& alpha,
                     std::string_view how, at::TensorList branches) {
  mode(how);
  residual("skip", skip, branches, alpha, 0);
  activation("low", low);
  like("low", low, "skip", skip);
  TORCH_CHECK_VALUE(low.size(0) == skip.size(0) && low.size(2) * 2 == skip.size(2) &&
                        low.size(3) * 2 == skip.size(3),
                    "low must be half as high and wide as skip ", shape(skip), ", got ",
                    shape(low));
  if (how == "concat") return skip.size(1) + low.size(1);
  TORCH_CHECK_VALUE(low.size(1) == skip.size(1), "low must have the ", skip.size(1),
                    " channels of skip in mode 'add', got ", low.size(1));
  return skip.size(1);
}

inline void norm(int64_t channels, const OptionalTensor& running_mean,
                 const OptionalTensor& running_var, const OptionalTensor& weight,
                 const OptionalTensor& bias, bool training, double eps, std::string_view owner_name,
                 const Tensor& owner) {
  vector("running_mean", running_mean, channels, owner_name, owner);
  vector("running_var", running_var, channels, owner_name, owner);
  vector("weight", weight, channels, owner_name, owner);
  vector("bias", bias, channels, owner_name, owner);
  TORCH_CHECK_VALUE(running_mean.has_value() == running_var.has_value(),
                    "running_mean and running_var must be given together or both be None, got one "
                    "of them");
  TORCH_CHECK_VALUE(training || running_mean.has_value(),
                    "running_mean and running_var must be given when training=False, got None");
  TORCH_CHECK_VALUE(training ? eps > 0 : eps >= 0, "eps must be ",
                    training ? "positive during training" : "non-negative", ", got ", eps);
  const int64_t count = owner.size(0) * owner.size(2) * owner.size(3);
  TORCH_CHECK_VALUE(!training || count != 1,
                    "Expected more than 1 value per channel when training, got input size "
                    "torch.Size([", owner.size(0), ", ", channels, ", ", owner.size(2), ", ",
                    owner.size(3), "])");
}

// Before a node is made for them: nothing would ever fill their gradients.
inline void statistics(const OptionalTensor& running_mean, const OptionalTensor& running_var) {
  if (!at::GradMode::is_enabled()) return;
  TORCH_CHECK_VALUE(!running_mean || !running_mean->requires_grad(),
                    "running_mean must not require a gradient, which no batch norm has for it");
  TORCH_CHECK_VALUE(!running_var || !running_var->requires_grad(),
                    "running_var must not require a gradient, which no batch norm has for it");
}

// The gradients that a backward op is asked for, one flag per differentiable input.
inline void needs(size_t got, size_t takes) {
  TORCH_CHECK_VALUE(got == takes, "needs must have ", takes, " flags, got ", got);
}

}  // namespace softgate::checks
