// The forward ops: they check, allocate the results, and fill one Forward (args.h) for the kernels.
#include "call.h"
#include "checks.h"
#include "ops.h"

namespace softgate {
namespace {

Source source_of(Call& call, const Arguments& a) {
  const Tensor& x = a.tensor(Role::x);
  Source s;
  if (!a.takes(Role::branches)) {  // bn_relu: the one tensor that is normalised
    s.branches = 1;
    s.branch[0] = call.dense(x);
    s.width[0] = x.size(1);
    return s;
  }
  s = call.gate(a, x.size(1));
  s.skip = call.dense(x);
  for (const IValue& value : a.list(Role::branches)) {
    const Tensor& b = value.toTensor();
    s.width[s.branches] = b.size(1);
    s.branch[s.branches++] = call.dense(b);
  }
  if (a.takes(Role::low)) {
    s.low = call.dense(a.tensor(Role::low));
    s.low_channels = a.tensor(Role::low).size(1);
  }
  return s;
}

// The statistics of a forward: new ones in training; else the running ones, with empty results.
void add_statistics(Call& call, Forward& args, const Arguments& a, std::vector<Tensor>& results) {
  const bool training = args.norm.training;
  const int64_t channels = training ? args.dims.c : 0;
  const Tensor mean = results.emplace_back(call.statistic(channels));
  const Tensor var = results.emplace_back(call.statistic(channels));
  if (training && args.dims.count() == 0) {
    mean.zero_();
    var.fill_(1);
  }
  const auto running = [&](Role role) {
    return Out{const_cast<void*>(call.vector(a.given(role)).data), true};
  };
  args.mean = training ? out(mean) : running(Role::running_mean);
  args.var = training ? out(var) : running(Role::running_var);
}

// Whether the memory from the first to the last value of two tensors has a byte in common.
bool share_memory(const Tensor& a, const Tensor& b) {
  if (a.numel() == 0 || b.numel() == 0 || !a.is_alias_of(b)) return false;
  const auto end = [](const Tensor& t) {
    int64_t last = 0;
    for (int64_t i = 0; i < t.dim(); ++i) last += (t.size(i) - 1) * t.stride(i);
    return static_cast<const char*>(t.const_data_ptr()) + (last + 1) * t.element_size();
  };
  return a.const_data_ptr() < end(b) && b.const_data_ptr() < end(a);
}

// A tensor of the caller that becomes a result. It may be an input as a whole, whose values are read before theirs
// are written. It must not share a part of its memory with one, since threads finish in any order.
void check_given(const Call& call, at::TensorList into, size_t index, at::IntArrayRef size, const Arguments& a) {
  const Tensor& t = into[index];
  call.check_result(t, size);
  const std::string who = "out[" + std::to_string(index) + "]";
  SOFTGATE_CHECK(!t.requires_grad() || !at::GradMode::is_enabled(), who,
                 " must not require a gradient, since no gradient flows through it");
  for (size_t other = 0; other < index; ++other) {
    SOFTGATE_CHECK(!share_memory(t, into[other]), who, " must not share memory with out[", other, "]");
  }
  const auto apart = [&](const Tensor& input, const std::string& name) {
    const bool same = t.const_data_ptr() == input.const_data_ptr() && t.sizes() == input.sizes() &&
                      t.strides() == input.strides();
    SOFTGATE_CHECK(same || !share_memory(t, input), who, " must be ", name,
                   " itself or share no memory with it");
  };
  apart(a.tensor(Role::x), a.name(Role::x));
  if (a.takes(Role::low)) apart(a.tensor(Role::low), "low");
  if (!a.takes(Role::branches)) return;
  for (const IValue& branch : a.list(Role::branches)) apart(branch.toTensor(), "a branch");
}

}  // namespace

std::vector<Tensor> forward(const Arguments& a, at::TensorList into) {
  const int64_t channels = checks::forward(a);
  const Tensor& x = a.tensor(Role::x);
  Call call(x);
  Forward args{dtype_of(x), call.dims(channels), source_of(call, a)};
  std::vector<Tensor> results;
  results.reserve(4);
  const auto output = [&] {
    const std::vector<int64_t> size{x.size(0), channels, x.size(2), x.size(3)};
    const bool given = results.size() < into.size();
    if (given) check_given(call, into, results.size(), size, a);
    return out(results.emplace_back(given ? into[results.size()] : call.activation(size)));
  };
  if (a.takes(Role::branches)) args.y = output();
  if (a.takes(Role::training)) {
    args.z = output();
    args.norm = call.norm(a);
    add_statistics(call, args, a, results);
  }
  if (x.numel() != 0) run(args, x);
  // As PyTorch's own ops do, so that autograd detects a saved tensor that was written over.
  for (const Tensor& t : into) {
    if (!t.is_inference()) t.unsafeGetTensorImpl()->bump_version();
  }
  return results;
}

}  // namespace softgate
