// What the launchers ask of CUDA's runtime, told by a runtime that is not there: `launch CLUSTER BLOCKS`
// is on a device that holds clusters of that many blocks, and so many blocks on a multiprocessor. It has
// no room for a cooperative grid all the same.
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kSharedBytes = 232448;
int most_cluster, most_blocks;

cudaError_t pretend_device(int* index) { return *index = 0, cudaSuccess; }

cudaError_t pretend_attribute(int* value, cudaDeviceAttr which, int) {
  *value = which == cudaDevAttrMaxSharedMemoryPerBlockOptin ? kSharedBytes : 1;
  return cudaSuccess;
}

template <class Kernel>
cudaError_t pretend_compiled(cudaFuncAttributes* attributes, Kernel*) {
  attributes->ptxVersion = 90;
  return cudaSuccess;
}

template <class Kernel>
cudaError_t pretend_set(Kernel*, cudaFuncAttribute, int value) {
  std::printf("allowed %d\n", value);
  return cudaSuccess;
}

template <class Kernel>
cudaError_t pretend_clusters(int* count, Kernel*, const cudaLaunchConfig_t* config) {
  const int blocks = config->attrs->val.clusterDim.x;
  if (config->dynamicSmemBytes != kSharedBytes) std::abort();
  *count = blocks <= most_cluster;
  return blocks <= 2 * most_cluster ? cudaSuccess : cudaErrorInvalidClusterSize;
}

template <class Kernel>
cudaError_t pretend_blocks(int* count, Kernel*, int, size_t) {
  return *count = most_blocks, cudaSuccess;
}

template <class Kernel, class... Args>
cudaError_t pretend_launch(const cudaLaunchConfig_t* config, Kernel*, Args...) {
  const bool cooperative = config->numAttrs > 0 && config->attrs->id == cudaLaunchAttributeCooperative;
  std::printf("%s %zu\n", cooperative ? "refused" : "launched with", config->dynamicSmemBytes);
  return cooperative ? cudaErrorCooperativeLaunchTooLarge : cudaSuccess;
}

}  // namespace

#define cudaGetDevice pretend_device
#define cudaDeviceGetAttribute pretend_attribute
#define cudaFuncGetAttributes pretend_compiled
#define cudaFuncSetAttribute pretend_set
#define cudaOccupancyMaxActiveClusters pretend_clusters
#define cudaOccupancyMaxActiveBlocksPerMultiprocessor pretend_blocks
#define cudaLaunchKernelEx pretend_launch
#define cudaGetLastError() cudaSuccess
#define cudaGetErrorString(error) "no room"
#include "../../csrc/cuda/device.cu"

namespace softgate::cuda {

void ask_and_launch() {
  const Device& device = current_device();
  std::printf("%d %d\n", device.cluster, device.cooperative);
  const auto finish = [](int kib, bool cooperative) {
    const Grid grid{1, kThreads, size_t(kib) << 10, 1, cooperative};
    launch_kernel<forward_finish<float>>("forward_finish", grid, nullptr, Forward{}, 1, nullptr);
  };
  for (const int kib : {100, 60, 20}) finish(kib, false);
  try {
    finish(20, true);
  } catch (const CooperativeRefused& refusal) {
    std::printf("%s\n", refusal.what());
  }
}

}  // namespace softgate::cuda

int main(int, char** arguments) {
  most_cluster = std::atoi(arguments[1]);
  most_blocks = std::atoi(arguments[2]);
  softgate::cuda::ask_and_launch();
}
