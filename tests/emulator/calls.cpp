// The door for the tests: a call of the CUDA launchers, with the tensors it may touch, and what it
// moved. The launchers themselves are those of the extension.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>

#include "../../csrc/cuda/launch.h"
#include "machine.h"

namespace {

struct Tensor {
  const char* name;
  void* begin;
  int64_t bytes;
  int32_t written;  // 1: an input
  int64_t read_bytes, write_bytes;
};

struct Options {
  softgate::cuda::Device device;
  int32_t variant;
  uint32_t order_seed;
  int64_t cache_bytes;  // 0: no cache
};

struct Report {
  int64_t read_bytes, write_bytes;  // of all tensors and the workspace
  int64_t device_bytes;             // behind the cache
  int64_t workspace_bytes;
  int32_t launches;
  char error[512];
};

template <class Call>
int emulate(const Call& call, const Options& options, Tensor* tensors, int count, Report& report,
            void (*run)(const Call&, const softgate::cuda::Device&, void*, softgate::cuda::Stream)) {
  emulator::Memory memory;
  std::unique_ptr<emulator::Cache> cache;
  if (options.cache_bytes > 0) cache = std::make_unique<emulator::Cache>(options.cache_bytes);
  memory.cache = cache.get();
  emulator::memory = &memory;
  emulator::order_seed = options.order_seed;
  report = {};
  std::unique_ptr<char[]> workspace;
  int failed = 0;
  try {
    softgate::cuda::force_variant(static_cast<softgate::cuda::Variant>(options.variant));
    for (int i = 0; i < count; ++i) {
      memory.add(tensors[i].name, tensors[i].begin, tensors[i].bytes, tensors[i].written != 0);
    }
    report.workspace_bytes = softgate::cuda::workspace_bytes(call, options.device);
    workspace.reset(new char[report.workspace_bytes]);
    std::fill_n(workspace.get(), report.workspace_bytes, static_cast<char>(0xff));
    memory.add("workspace", workspace.get(), report.workspace_bytes, false);
    run(call, options.device, workspace.get(), nullptr);
  } catch (const std::exception& error) {
    std::snprintf(report.error, sizeof report.error, "%s", error.what());
    failed = 1;
  }
  for (const auto& [begin, buffer] : memory.buffers) {
    report.read_bytes += buffer.read_bytes;
    report.write_bytes += buffer.write_bytes;
    for (int i = 0; i < count; ++i) {
      if (reinterpret_cast<uintptr_t>(tensors[i].begin) != begin) continue;
      tensors[i].read_bytes = buffer.read_bytes;
      tensors[i].write_bytes = buffer.write_bytes;
      tensors[i].written =
          std::all_of(buffer.written.begin(), buffer.written.end(), [](bool w) { return w; });
    }
  }
  report.launches = memory.launches;
  report.device_bytes = cache ? cache->moved() : 0;
  emulator::memory = nullptr;
  return failed;
}

}  // namespace

extern "C" {

int emulate_forward(const softgate::Forward* call, const Options* options, Tensor* tensors,
                    int count, Report* report) {
  return emulate(*call, *options, tensors, count, *report, softgate::cuda::forward);
}

int emulate_backward(const softgate::Backward* call, const Options* options, Tensor* tensors,
                     int count, Report* report) {
  return emulate(*call, *options, tensors, count, *report, softgate::cuda::backward);
}

// So that the tests notice where their copies of the structs have drifted.
int64_t size_of_forward() { return sizeof(softgate::Forward); }
int64_t size_of_backward() { return sizeof(softgate::Backward); }
int64_t size_of_options() { return sizeof(Options); }
int64_t size_of_report() { return sizeof(Report); }

}  // extern "C"

namespace softgate::cuda {

namespace {
Variant forced = Variant::automatic;
}

void force_variant(Variant variant) { forced = variant; }
Variant forced_variant() { return forced; }

}  // namespace softgate::cuda
