// What the launchers know of the machine.
#include <mutex>

#include "launch.cuh"
#include "resident.cuh"
#include "sliced.cuh"

namespace softgate::cuda {
namespace {

constexpr int kMaxCluster = 8;  // larger ones not every device with clusters takes

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check("a kernel: asking for a device's attributes", cudaDeviceGetAttribute(&value, which, device));
  return value;
}

// What is asked for in the name of all kernels of a variant: their __launch_bounds__ are the same, and
// none has more channels to merge.
using Widest = Tiling<__half, true, 8, true, true>;

// The largest cluster whose blocks each have all the shared memory that a block may have. A slice of a
// GPU may have too few multiprocessors side by side for eight.
int largest_cluster(int index, int shared_bytes) {
  constexpr auto kernel = forward_resident<Widest>;
  allow_shared<forward_resident<Widest>>("a kernel: asking for clusters", index, shared_bytes);
  for (int blocks = kMaxCluster; blocks > 1; blocks /= 2) {
    const Configuration asked({blocks, kThreads, size_t(shared_bytes), blocks}, nullptr);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &asked.config) == cudaSuccess &&
        clusters > 0) {
      return blocks;
    }
    (void)cudaGetLastError();  // an answer, not a failure
  }
  return 1;
}

// How many blocks of a cooperative grid a multiprocessor holds.
int cooperative_blocks(int index) {
  int blocks = 0;
  if (!attribute(cudaDevAttrCooperativeLaunch, index)) return 0;
  check("a kernel: asking for its blocks",
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(
            &blocks, forward_sliced<Widest>, kThreads,
            merge_bytes<Moments<float>>(Widest::kChannels, kThreads)));
  return blocks;
}

Device describe(int index) {
  Device device;
  device.processors = attribute(cudaDevAttrMultiProcessorCount, index);
  device.l2_bytes = attribute(cudaDevAttrL2CacheSize, index);
  device.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  device.clock = 1e3 * attribute(cudaDevAttrClockRate, index);
  // Two transfers a clock.
  device.memory_rate = 2e3 * attribute(cudaDevAttrMemoryClockRate, index) *
                       attribute(cudaDevAttrGlobalMemoryBusWidth, index) / 8;
  // Code compiled for an older architecture has no cluster in it, whatever device it runs on.
  cudaFuncAttributes compiled = {};
  check("a kernel: asking for a kernel's attributes",
        cudaFuncGetAttributes(&compiled, forward_finish<float>));
  device.cluster = compiled.ptxVersion >= 90 ? largest_cluster(index, device.shared_bytes) : 1;
  device.cooperative = cooperative_blocks(index);
  return device;
}

}  // namespace

const Device& current_device() {
  static Device devices[kMaxDevices];
  static std::once_flag once[kMaxDevices];
  const int index = device_index();
  std::call_once(once[index], [&] { devices[index] = describe(index); });
  return devices[index];
}

}  // namespace softgate::cuda
