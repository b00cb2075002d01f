// Calls in the emulator: what a call may touch is what it was given, and all that it moves is counted.
#include "calls.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>

#include "emulator.h"
#include "machine.h"

namespace {

void tell(const emulator::Memory& memory, Tensor* tensors, int count, Report& report) {
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
  report.device_bytes = memory.cache ? memory.cache->moved() : 0;
}

// Allocate gives the workspace of so many bytes.
template <class Call, class Allocate>
void run(const Call& call, const Options& options, Report& report, Allocate allocate) {
  softgate::cuda::Device device = options.device;
  const auto forced = static_cast<softgate::cuda::Variant>(options.variant);
  softgate::cuda::plan_and_launch(call, device, forced, nullptr, allocate);
  const softgate::cuda::Plan plan = softgate::cuda::make_plan(call, device, forced);
  report.predicted_bytes = softgate::cuda::predict(plan, call, device).bytes;
}

template <class Allocate>
void run(const softgate::Running& call, const Options&, Report&, Allocate) {
  softgate::cuda::launch(call, nullptr);
}

}  // namespace

template <class Call>
int run_call(const Call& call, const Options& options, Tensor* tensors, int count, Report& report) {
  emulator::Memory memory;
  std::unique_ptr<emulator::Cache> cache;
  if (options.cache_bytes > 0) cache = std::make_unique<emulator::Cache>(options.cache_bytes);
  memory.cache = cache.get();
  emulator::memory = &memory;
  emulator::order_seed = options.order_seed;
  emulator::edge_blocks = options.edge_blocks;
  emulator::refuse_cooperative = options.refuse_cooperative != 0;
  report = {};
  std::unique_ptr<char[]> workspace;
  int failed = 0;
  try {
    for (int i = 0; i < count; ++i) {
      memory.add(tensors[i].name, tensors[i].begin, tensors[i].bytes, tensors[i].written != 0);
    }
    run(call, options, report, [&](size_t bytes) {
      if (workspace) memory.buffers.erase(reinterpret_cast<uintptr_t>(workspace.get()));
      report.workspace_bytes = bytes;
      workspace.reset(new char[bytes]);
      std::fill_n(workspace.get(), bytes, static_cast<char>(0xff));
      memory.add("workspace", workspace.get(), bytes, false);
      return workspace.get();
    });
  } catch (const std::exception& error) {
    std::snprintf(report.error, sizeof report.error, "%s", error.what());
    failed = 1;
  }
  tell(memory, tensors, count, report);
  emulator::memory = nullptr;
  return failed;
}
