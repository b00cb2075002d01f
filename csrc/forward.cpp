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
    if (given) call.check_result(into[results.size()], size);
    return out(results.emplace_back(given ? into[results.size()] : call.activation(size)));
  };
  if (a.takes(Role::branches)) args.y = output();
  if (a.takes(Role::training)) {
    args.z = output();
    args.norm = call.norm(a);
    add_statistics(call, args, a, results);
  }
  if (x.numel() != 0) run(args, x);
  return results;
}

}  // namespace softgate
