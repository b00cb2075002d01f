// The arguments of a call of any op, accessed by their role. An argument name has the same meaning in every schema of
// softgate_ext/ops/schema.py, so checks, kernels and autograd are written once for all ops.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace softgate {

using at::Tensor;
using c10::IValue;
using OptionalTensor = std::optional<Tensor>;

enum class Role {
  x, branches, low, alpha, running_mean, running_var, weight, bias,  // tensors of a forward op
  training, eps, relu, mode,
  dy, dz, y, mean, var, channels, split, needs,  // the further arguments of a backward op
  count
};
constexpr size_t kRoles = static_cast<size_t>(Role::count);

// The argument names of all schemas. In a merge, x is called skip, y is called merged, and dy is called dmerged.
constexpr std::pair<std::string_view, Role> kNames[] = {
    {"x", Role::x}, {"skip", Role::x}, {"branches", Role::branches}, {"low", Role::low},
    {"alpha", Role::alpha}, {"running_mean", Role::running_mean},
    {"running_var", Role::running_var}, {"weight", Role::weight}, {"bias", Role::bias},
    {"training", Role::training}, {"eps", Role::eps}, {"relu", Role::relu}, {"mode", Role::mode},
    {"dy", Role::dy}, {"dmerged", Role::dy}, {"dz", Role::dz}, {"y", Role::y},
    {"merged", Role::y}, {"mean", Role::mean}, {"var", Role::var}, {"channels", Role::channels},
    {"split", Role::split}, {"needs", Role::needs},
};

// The position of each argument in the schema of an op.
class Signature {
 public:
  explicit Signature(const c10::FunctionSchema& schema) {
    places_.fill(-1);
    for (const c10::Argument& argument : schema.arguments()) {
      const Role role = role_of(argument.name());
      places_[static_cast<size_t>(role)] = static_cast<int>(roles_.size());
      roles_.push_back(role);
      names_.push_back(argument.name());
    }
    if (takes(Role::dz) && !takes(Role::y)) {  // the backward of bn_relu: its x is the y that was normalised
      std::swap(places_[static_cast<size_t>(Role::x)], places_[static_cast<size_t>(Role::y)]);
      roles_[place(Role::y)] = Role::y;
    }
    differentiable_ = {Role::x};
    if (takes(Role::branches) || takes(Role::split)) differentiable_.push_back(Role::branches);
    if (takes(Role::mode)) differentiable_.push_back(Role::low);
    for (Role role : {Role::alpha, Role::weight, Role::bias}) {
      if (takes(role)) differentiable_.push_back(role);
    }
  }

  bool takes(Role role) const { return places_[static_cast<size_t>(role)] >= 0; }
  size_t place(Role role) const { return places_[static_cast<size_t>(role)]; }
  const std::string& name(Role role) const { return names_[place(role)]; }
  const std::vector<Role>& roles() const { return roles_; }  // in the order of the schema
  // The arguments that may require a gradient, in the order of the `needs` and of the results of a backward op.
  const std::vector<Role>& differentiable() const { return differentiable_; }

 private:
  static Role role_of(std::string_view name) {
    for (const auto& [known, role] : kNames) {
      if (name == known) return role;
    }
    TORCH_INTERNAL_ASSERT(false, "csrc/arguments.h has no argument '", name, "'");
  }

  std::array<int, kRoles> places_;
  std::vector<Role> roles_, differentiable_;
  std::vector<std::string> names_;
};

class Arguments {
 public:
  Arguments(const Signature& signature, const IValue* values)
      : signature_(signature), values_(values) {
    if (!takes(Role::needs)) return;
    for (const IValue& need : list(Role::needs)) {
      if (flags_ < 64 && need.toBool()) wanted_ |= uint64_t(1) << flags_;
      ++flags_;
    }
  }

  bool takes(Role role) const { return signature_.takes(role); }
  const std::string& name(Role role) const { return signature_.name(role); }
  const Signature& signature() const { return signature_; }

  const Tensor& tensor(Role role) const { return value(role).toTensor(); }
  OptionalTensor given(Role role) const {
    if (!takes(role) || value(role).isNone()) return std::nullopt;
    return tensor(role);
  }
  at::ArrayRef<IValue> list(Role role) const { return value(role).toListRef(); }
  bool flag(Role role) const { return value(role).toBool(); }
  double number(Role role) const { return value(role).toDouble(); }
  std::string_view text(Role role) const { return value(role).toStringView(); }
  int64_t integer(Role role) const { return integer(value(role)); }
  std::vector<int64_t> integers(Role role) const {
    std::vector<int64_t> found;
    for (const IValue& v : list(role)) found.push_back(integer(v));
    return found;
  }

  size_t flags() const { return flags_; }
  bool wants(Role role) const {
    const auto& roles = signature_.differentiable();
    for (size_t i = 0; i < roles.size(); ++i) {
      if (roles[i] == role) return wanted_ >> i & 1;
    }
    return false;
  }

 private:
  const IValue& value(Role role) const { return values_[signature_.place(role)]; }
  static int64_t integer(const IValue& v) {
    return v.isInt() ? v.toInt() : v.toSymInt().guard_int(__FILE__, __LINE__);
  }

  const Signature& signature_;
  const IValue* values_;
  size_t flags_ = 0;
  uint64_t wanted_ = 0;  // one bit for each flag of `needs`
};

}  // namespace softgate
