// The same door as calls.cpp, to the kernels on a GPU: the tests' cases run there too.
#include <cstdio>
#include <exception>

#include "calls.h"

template <class Call>
int run_call(const Call& call, const Options& options, Tensor* tensors, int count, Report& report,
             Run<Call> run) {
  report = {};
  void* workspace = nullptr;
  int failed = 0;
  try {
    softgate::cuda::force_variant(static_cast<softgate::cuda::Variant>(options.variant));
    const softgate::cuda::Device& device = softgate::cuda::current_device();
    report.workspace_bytes = softgate::cuda::workspace_bytes(call, device);
    if (report.workspace_bytes > 0) {
      cudaMalloc(&workspace, report.workspace_bytes);
      cudaMemset(workspace, 0xff, report.workspace_bytes);
    }
    run(call, device, workspace, nullptr);
  } catch (const std::exception& error) {
    std::snprintf(report.error, sizeof report.error, "%s", error.what());
    failed = 1;
  }
  const cudaError_t error = cudaDeviceSynchronize();
  if (!failed && error != cudaSuccess) {
    std::snprintf(report.error, sizeof report.error, "%s", cudaGetErrorString(error));
    failed = 1;
  }
  cudaFree(workspace);
  for (int i = 0; i < count; ++i) tensors[i].written = 1;  // outputs start as NaN: values tell
  return failed;
}
