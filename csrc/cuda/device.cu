// Queries the properties of a device on which a plan depends (struct Device of plan.h).
#include <mutex>

#include "launch.cuh"
#include "resident.cuh"
#include "sliced.cuh"

namespace softgate::cuda {
namespace {

constexpr int kMaxCluster = 8;  // the portable maximum: larger clusters are not supported by every device

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check("a kernel (query of a device attribute)", cudaDeviceGetAttribute(&value, which, device));
  return value;
}

// The instance whose occupancy stands for all instances of a kernel. They have the same __launch_bounds__, and none
// merges the sums of more channels, which is what the shared memory depends on.
using Widest = Tiling<__half, true, 8, true, true>;

// The largest cluster that the device can run if each thread block uses the maximum of shared memory. A slice of a
// GPU (MIG) may have too few neighbouring multiprocessors for eight thread blocks.
int largest_cluster(int index, int shared_bytes) {
  constexpr auto kernel = forward_resident<Widest>;
  allow_shared<forward_resident<Widest>>("a kernel (query of the cluster size)", index, shared_bytes);
  for (int blocks = kMaxCluster; blocks > 1; blocks /= 2) {
    const Configuration asked({blocks, kThreads, size_t(shared_bytes), blocks}, nullptr);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &asked.config) == cudaSuccess &&
        clusters > 0) {
      return blocks;
    }
    (void)cudaGetLastError();  // an error only means that this cluster size is unsupported
  }
  return 1;
}

// The number of thread blocks of a cooperative grid that a multiprocessor holds. 0 if the device has no cooperative
// launch.
int cooperative_blocks(int index) {
  int blocks = 0;
  if (!attribute(cudaDevAttrCooperativeLaunch, index)) return 0;
  check("a kernel (query of its occupancy)",
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
  // Attributes are in kHz and bits. The memory makes two transfers per clock.
  device.memory_rate = 2e3 * attribute(cudaDevAttrMemoryClockRate, index) *
                       attribute(cudaDevAttrGlobalMemoryBusWidth, index) / 8;
  // Code that was compiled for an architecture before sm_90 has no cluster barrier, also if the device supports them.
  cudaFuncAttributes compiled = {};
  check("a kernel (query of its attributes)",
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
