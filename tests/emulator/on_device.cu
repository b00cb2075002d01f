// The same calls on a GPU: every tensor has a twin there, as far off its alignment, for the time of the
// call. Nothing else of the process touches the GPU, so that compute-sanitizer sees these kernels alone.
#include "calls.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr uintptr_t kLine = 256;  // what cudaMalloc aligns to
constexpr int kInput = 1;         // Tensor::written; what is read and written is 2

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// Memory of the GPU; a copy of the host's, where that is given.
class Twin {
 public:
  Twin(const void* host, size_t bytes, bool written, bool poison)
      : offset_(reinterpret_cast<uintptr_t>(host) % kLine) {
    check(cudaMalloc(&base_, bytes + offset_));
    if (written) {
      check(cudaMemcpy(begin(), host, bytes, cudaMemcpyHostToDevice));
    } else if (poison) {
      check(cudaMemset(begin(), 0xff, bytes));  // NaN in every type
    }
  }
  Twin(Twin&& other) : base_(other.base_), offset_(other.offset_) { other.base_ = nullptr; }
  Twin(const Twin&) = delete;
  ~Twin() { cudaFree(base_); }

  void* begin() const { return static_cast<char*>(base_) + offset_; }

 private:
  void* base_ = nullptr;
  size_t offset_;
};

class Twins {
 public:
  Twins(const Tensor* tensors, int count, bool poison) : tensors_(tensors) {
    for (int i = 0; i < count; ++i) {
      twins_.emplace_back(tensors[i].begin, tensors[i].bytes, tensors[i].written != 0, poison);
    }
  }

  // The pointer of the host becomes that of its twin.
  template <class P>
  void move(P*& place) const {
    for (size_t i = 0; i < twins_.size(); ++i) {
      if (tensors_[i].begin != place || tensors_[i].bytes == 0) continue;
      place = static_cast<P*>(twins_[i].begin());
      return;
    }
  }
  template <class P>
  void move(softgate::Operand<P*>& t) const {
    if (t.given) move(t.data);
  }

  void move_source(softgate::Source& s) const {
    move(s.skip), move(s.alpha), move(s.low);
    for (auto& branch : s.branch) move(branch);
  }
  void move_norm(softgate::Norm& norm) const { move(norm.weight), move(norm.bias); }

  void bring_back() const {
    for (size_t i = 0; i < twins_.size(); ++i) {
      if (tensors_[i].written == kInput) continue;
      check(cudaMemcpy(tensors_[i].begin, twins_[i].begin(), tensors_[i].bytes,
                       cudaMemcpyDeviceToHost));
    }
  }

 private:
  const Tensor* tensors_;
  std::vector<Twin> twins_;
};

softgate::Forward moved(softgate::Forward a, const Twins& twins) {
  twins.move_source(a.source), twins.move_norm(a.norm);
  for (softgate::Out* t : {&a.y, &a.z, &a.mean, &a.var}) twins.move(*t);
  return a;
}

softgate::Backward moved(softgate::Backward a, const Twins& twins) {
  twins.move_source(a.source), twins.move_norm(a.norm);
  for (softgate::In* t : {&a.dy, &a.dz, &a.y, &a.mean, &a.var}) twins.move(*t);
  for (softgate::Out* t : {&a.dskip, &a.dlow, &a.dalpha, &a.dweight, &a.dbias}) twins.move(*t);
  for (auto& branch : a.dbranch) twins.move(branch);
  return a;
}

softgate::Running moved(softgate::Running a, const Twins& twins) {
  for (const void** t : {&a.mean, &a.var}) twins.move(*t);
  twins.move(a.running_mean), twins.move(a.running_var), twins.move(a.calls);
  return a;
}

// The device that the case has in mind, as far as this one can be it: the same blocks and slices. Of
// its L2 the case may say what it likes: that decides about slices alone.
softgate::cuda::Device common(const softgate::cuda::Device& asked) {
  const softgate::cuda::Device& here = softgate::cuda::current_device();
  return {std::min(asked.processors, here.processors), asked.l2_bytes,
          std::min(asked.shared_bytes, here.shared_bytes), std::min(asked.cluster, here.cluster),
          std::min(asked.cooperative, here.cooperative), asked.clock, asked.memory_rate};
}

// The running statistics have no plan, and are not timed.
void run_on_twins(const softgate::Running& call, const Options& options, Tensor* tensors, int count,
                  Report&) {
  const Twins twins(tensors, count, options.poison != 0);
  softgate::cuda::launch(moved(call, twins), nullptr);
  check(cudaDeviceSynchronize());
  twins.bring_back();
}

template <class Call>
void run_on_twins(const Call& call, const Options& options, Tensor* tensors, int count,
                  Report& report) {
  softgate::cuda::Device device = common(options.device);
  const Twins twins(tensors, count, options.poison != 0);
  const Call there = moved(call, twins);
  std::vector<Twin> workspace;
  const auto forced = static_cast<softgate::cuda::Variant>(options.variant);
  softgate::cuda::plan_and_launch(there, device, forced, nullptr, [&](size_t bytes) {
    report.workspace_bytes = bytes;
    return workspace.emplace_back(nullptr, bytes, false, options.poison != 0).begin();
  });
  check(cudaDeviceSynchronize());
  twins.bring_back();
  if (options.repeats == 0) return;
  const softgate::cuda::Plan plan = softgate::cuda::make_plan(there, device, forced);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < options.repeats; ++i) {
    void* scratch = workspace.empty() ? nullptr : workspace.back().begin();
    softgate::cuda::launch(plan, there, scratch, nullptr);
  }
  check(cudaDeviceSynchronize());
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  report.microseconds = took.count() / options.repeats;
}

}  // namespace

template <class Call>
int run_call(const Call& call, const Options& options, Tensor* tensors, int count, Report& report) {
  report = {};
  try {
    run_on_twins(call, options, tensors, count, report);
  } catch (const std::exception& error) {
    std::snprintf(report.error, sizeof report.error, "%s", error.what());
    return 1;
  }
  for (int i = 0; i < count; ++i) tensors[i].written = 1;  // outputs start as NaN: values tell
  return 0;
}

extern "C" void device_here(softgate::cuda::Device* device) {
  *device = softgate::cuda::current_device();
}
