// The checks of the ops' arguments. Each failed check raises an InputError of one sentence.
//
// softgate_ext/ops/checks.py has the same checks for the backends without compiled kernels. The tests compare the
// messages of the two.
#pragma once

#include <ATen/core/grad_mode.h>

#include <sstream>

#include "args.h"
#include "arguments.h"
#include "errors.h"
#include "memory.h"

namespace softgate::checks {

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

inline void dense(std::string_view who, const Tensor& t) {
  SOFTGATE_CHECK(t.defined(), who, " must be a tensor, got an undefined one");
  SOFTGATE_CHECK(!t.is_nested(), who, " must be a dense tensor, got a nested one");
  SOFTGATE_CHECK(t.layout() == at::kStrided, who,
                    " must be a dense tensor, got one of layout ", layout(t));
  SOFTGATE_CHECK(!t.is_neg(), who, " must hold its own values, got a negated view of others");
  SOFTGATE_CHECK(has_memory(t) || t.numel() == 0, who, " must hold values, got a tensor on ",
                    t.device(), " without memory");
}

inline void activation(std::string_view who, const Tensor& t) {
  dense(who, t);
  SOFTGATE_CHECK(t.dim() == 4, who, " must be 4-D (N, C, H, W), got shape ", shape(t));
  SOFTGATE_CHECK(floating(t.scalar_type()), who,
                    " must be float32, float64, float16 or bfloat16, got ", name(t.scalar_type()));
  SOFTGATE_CHECK(t.size(1) > 0, who, " must have at least one channel, got shape ", shape(t));
}

// A tensor of the caller into which a result is written. The kernels write through its pointer, so its dtype, device
// and layout must be those of the result.
inline void result(std::string_view who, const Tensor& t, const Tensor& like, at::IntArrayRef size,
                   at::MemoryFormat layout) {
  activation(who, t);
  SOFTGATE_CHECK(t.sizes() == size && t.scalar_type() == like.scalar_type() &&
                     t.device() == like.device() && t.is_contiguous(layout),
                 who, " must have the dtype, device and layout of the first argument and shape ",
                 at::IntArrayRef(size), ", got ", name(t.scalar_type()), " on ", t.device(),
                 " of shape ", shape(t), " and strides ", t.strides());
}

// Called if no kernel of another device supports the tensor: it must then be on the CPU.
inline void on_cpu(const Tensor& t) {
  SOFTGATE_CHECK(t.is_cpu(), "the compiled kernels serve tensors on cpu"
#ifdef SOFTGATE_CUDA
                    " or cuda"
#endif
                    ", got one on ", t.device());
}

inline void device(std::string_view who, const Tensor& t, std::string_view owner_name,
                   const Tensor& owner) {
  SOFTGATE_CHECK(t.device() == owner.device(), who, " must be on the device of ", owner_name, ", ",
                    owner.device(), ", got ", t.device());
}

inline void like(std::string_view who, const Tensor& t, std::string_view owner_name,
                 const Tensor& owner) {
  dense(who, t);
  SOFTGATE_CHECK(t.scalar_type() == owner.scalar_type(), who, " must have the dtype of ",
                    owner_name, ", ", name(owner.scalar_type()), ", got ", name(t.scalar_type()));
  device(who, t, owner_name, owner);
}

// A gradient of a backward op: it must match its output in everything but the strides.
inline void twin(std::string_view who, const Tensor& t, std::string_view owner_name,
                 const Tensor& owner) {
  like(who, t, owner_name, owner);
  SOFTGATE_CHECK(t.sizes() == owner.sizes(), who, " must have the shape of ", owner_name, ", ",
                    shape(owner), ", got ", shape(t));
}

inline void vector(std::string_view who, const OptionalTensor& t, int64_t channels,
                   std::string_view owner_name, const Tensor& owner) {
  if (!t) return;
  dense(who, *t);
  SOFTGATE_CHECK(floating(t->scalar_type()), who, " must be floating point, got ",
                    name(t->scalar_type()));
  device(who, *t, owner_name, owner);
  SOFTGATE_CHECK(t->dim() == 1 && t->size(0) == channels, who, " must have shape (", channels,
                    ",), one value per channel, got ", shape(*t));
}

inline void gate(const OptionalTensor& alpha, int64_t channels, std::string_view owner_name,
                 const Tensor& owner) {
  if (!alpha) return;
  dense("alpha", *alpha);
  SOFTGATE_CHECK(floating(alpha->scalar_type()), "alpha must be floating point, got ",
                    name(alpha->scalar_type()));
  device("alpha", *alpha, owner_name, owner);
  SOFTGATE_CHECK(alpha->dim() == 1 && (alpha->size(0) == channels || alpha->size(0) == 1),
                    "alpha must have shape (", channels, ",) or (1,), got ", shape(*alpha));
}

// The arguments of alpha * x + cat(branches): `least` to 4 branches, which have the batch size, height and width of
// x and whose channels add up to those of x.
inline void residual(const Arguments& a, size_t least) {
  const Tensor& x = a.tensor(Role::x);
  const std::string& who = a.name(Role::x);
  activation(who, x);
  const at::ArrayRef<IValue> branches = a.list(Role::branches);
  SOFTGATE_CHECK(branches.size() >= least && branches.size() <= kMaxBranches, "branches must be ",
                 least, " to ", kMaxBranches, " tensors, got ", branches.size());
  int64_t total = 0;
  for (size_t i = 0; i < branches.size(); ++i) {
    const Tensor& b = branches[i].toTensor();
    const std::string part = "branches[" + std::to_string(i) + "]";
    activation(part, b);
    like(part, b, who, x);
    SOFTGATE_CHECK(b.size(0) == x.size(0) && b.size(2) == x.size(2) && b.size(3) == x.size(3), part,
                   " must have shape (", x.size(0), ", *, ", x.size(2), ", ", x.size(3), ") as ", who,
                   ", got ", shape(b));
    total += b.size(1);
  }
  SOFTGATE_CHECK(branches.empty() || total == x.size(1), "branches must have ", x.size(1),
                 " channels in all, as ", who, ", got ", total);
  gate(a.given(Role::alpha), x.size(1), who, x);
}

inline void mode(std::string_view value) {
  SOFTGATE_CHECK(value == "concat" || value == "add", "mode must be 'concat' or 'add', got '", value,
                 "'");
}

// The arguments of a merge of skip and low, which is half as high and wide. Returns the number of channels of the
// merged tensor.
inline int64_t merge(const Arguments& a) {
  mode(a.text(Role::mode));
  residual(a, 0);
  const Tensor &skip = a.tensor(Role::x), &low = a.tensor(Role::low);
  activation("low", low);
  like("low", low, "skip", skip);
  SOFTGATE_CHECK(low.size(0) == skip.size(0) && low.size(2) * 2 == skip.size(2) &&
                     low.size(3) * 2 == skip.size(3),
                 "low must be half as high and wide as skip ", shape(skip), ", got ", shape(low));
  if (a.text(Role::mode) == "concat") return skip.size(1) + low.size(1);
  SOFTGATE_CHECK(low.size(1) == skip.size(1), "low must have the ", skip.size(1),
                 " channels of skip in mode 'add', got ", low.size(1));
  return skip.size(1);
}

inline void norm(const Arguments& a, int64_t channels) {
  const Tensor& owner = a.tensor(Role::x);
  for (Role role : {Role::running_mean, Role::running_var, Role::weight, Role::bias}) {
    vector(a.name(role), a.given(role), channels, a.name(Role::x), owner);
  }
  const bool training = a.flag(Role::training), running = a.given(Role::running_mean).has_value();
  for (Role role : {Role::running_mean, Role::running_var}) {
    const OptionalTensor t = a.given(role);
    SOFTGATE_CHECK(!training || !t || channels == 1 || t->stride(0) != 0, a.name(role),
                   " must have memory of its own for each channel, got an expanded tensor");
  }
  const double eps = a.number(Role::eps);
  SOFTGATE_CHECK(running == a.given(Role::running_var).has_value(),
                 "running_mean and running_var must be given together or both be None, got one of "
                 "them");
  SOFTGATE_CHECK(training || running,
                 "running_mean and running_var must be given when training=False, got None");
  SOFTGATE_CHECK(training ? eps > 0 : eps >= 0, "eps must be ",
                 training ? "positive during training" : "non-negative", ", got ", eps);
  const int64_t count = owner.size(0) * owner.size(2) * owner.size(3);
  SOFTGATE_CHECK(!training || count != 1,
                 "Expected more than 1 value per channel when training, got input size torch.Size([",
                 owner.size(0), ", ", channels, ", ", owner.size(2), ", ", owner.size(3), "])");
}

// All checks of a forward op. Returns the number of channels of its result.
inline int64_t forward(const Arguments& a) {
  int64_t channels;
  if (a.takes(Role::low)) {
    channels = merge(a);
  } else {
    a.takes(Role::branches) ? residual(a, 1) : activation("x", a.tensor(Role::x));
    channels = a.tensor(Role::x).size(1);
  }
  if (a.takes(Role::training)) norm(a, channels);
  return channels;
}

// Running statistics must not require a gradient, because no backward would compute it. Checked before an autograd
// node is created.
inline void statistics(const Arguments& a) {
  for (Role role : {Role::running_mean, Role::running_var}) {
    const OptionalTensor t = a.given(role);
    SOFTGATE_CHECK(!t || !t->requires_grad(), a.name(role),
                   " must not require a gradient, which no batch norm has for it");
  }
}

inline void norm_backward(const Arguments& a) {
  const Tensor& y = a.tensor(Role::y);
  const std::string& owner = a.name(Role::y);
  activation(owner, y);
  twin("dz", a.tensor(Role::dz), owner, y);
  for (Role role : {Role::mean, Role::var, Role::weight, Role::bias}) {
    vector(a.name(role), a.given(role), y.size(1), owner, y);
  }
  SOFTGATE_CHECK((a.given(Role::weight) || !a.wants(Role::weight)) &&
                     (a.given(Role::bias) || !a.wants(Role::bias)),
                 "weight and bias must be given where needs asks for their gradients, got None");
}

// Returns the number of channels of the skip of a merge. y is the merged tensor or its gradient.
inline int64_t skip_channels(const Arguments& a, const Tensor& y) {
  mode(a.text(Role::mode));
  SOFTGATE_CHECK(y.size(2) % 2 == 0 && y.size(3) % 2 == 0,
                 "merged must have an even height and width, got shape ", shape(y));
  const int64_t channels = a.integer(Role::channels), merged = y.size(1);
  const bool concat = a.text(Role::mode) == "concat";
  SOFTGATE_CHECK(concat ? channels > 0 && channels < merged : channels == merged,
                 "channels must be the channels of skip, within the ", merged, " of merged, got ",
                 channels);
  return channels;
}

inline void residual_backward(const Arguments& a, const Tensor& y, int64_t channels) {
  const std::vector<int64_t> split = a.integers(Role::split);
  SOFTGATE_CHECK(split.size() <= kMaxBranches, "split must have at most ", kMaxBranches,
                 " entries, got ", split.size());
  int64_t total = 0;
  for (int64_t width : split) {
    SOFTGATE_CHECK(width > 0 && width <= channels, "split must be counts from 1 to ", channels,
                   " channels, got ", width);
    total += width;
  }
  SOFTGATE_CHECK(total == channels || (split.empty() && !a.wants(Role::branches)),
                 "split must add up to ", channels, " channels, got ", total);
  const OptionalTensor alpha = a.given(Role::alpha), x = a.given(Role::x);
  const std::string& who = a.name(Role::x);
  gate(alpha, channels, "the gradient", y);
  SOFTGATE_CHECK((alpha && x) || !a.wants(Role::alpha), "alpha and ", who,
                 " must be given where needs asks for alpha's gradient, got None");
  if (!x) return;
  like(who, *x, "the gradient", y);
  const std::array<int64_t, 4> size{y.size(0), channels, y.size(2), y.size(3)};
  SOFTGATE_CHECK(x->sizes() == at::IntArrayRef(size), who, " must have shape (", size[0], ", ",
                 size[1], ", ", size[2], ", ", size[3], "), got ", shape(*x));
}

// All checks of a backward op. Returns the number of channels of x.
inline int64_t backward(const Arguments& a) {
  const size_t needs = a.signature().differentiable().size();
  SOFTGATE_CHECK(a.flags() == needs, "needs must have ", needs, " flags, got ", a.flags());
  const bool normed = a.takes(Role::dz);
  normed ? norm_backward(a) : activation(a.name(Role::dy), a.tensor(Role::dy));
  const Tensor& y = a.tensor(normed ? Role::y : Role::dy);
  if (const OptionalTensor dy = a.given(Role::dy); dy && normed) {
    twin(a.name(Role::dy), *dy, a.name(Role::y), y);
  }
  const int64_t channels = a.takes(Role::channels) ? skip_channels(a, y) : y.size(1);
  if (a.takes(Role::split)) residual_backward(a, y, channels);
  return channels;
}

}  // namespace softgate::checks
