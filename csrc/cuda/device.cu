// What the launchers know of the machine, and the choice that tests and benchmarks may force.
#include <atomic>
#include <mutex>

#include "forward.cuh"
#include "launch.cuh"

namespace softgate::cuda {
namespace {

constexpr int kMaxDevices = 64;
constexpr int kMaxCluster = 8;  // the largest that every device with clusters takes

std::atomic<Variant> forced{Variant::automatic};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check("a kernel: asking for a device's attributes", cudaDeviceGetAttribute(&value, which, device));
  return value;
}

Device describe(int index) {
  Device device;
  device.processors = attribute(cudaDevAttrMultiProcessorCount, index);
  device.l2_bytes = attribute(cudaDevAttrL2CacheSize, index);
  device.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  // Code compiled for an older architecture has no cluster in it, whatever device it runs on.
  cudaFuncAttributes compiled = {};
  check("a kernel: asking for a kernel's attributes",
        cudaFuncGetAttributes(&compiled, forward_finish<float>));
  device.cluster = compiled.ptxVersion >= 90 ? kMaxCluster : 1;
  return device;
}

}  // namespace

const Device& current_device() {
  static Device devices[kMaxDevices];
  static std::once_flag once[kMaxDevices];
  int index = 0;
  check("a kernel: asking for the current device", cudaGetDevice(&index));
  if (index >= kMaxDevices) throw std::runtime_error("softgate: more than 64 CUDA devices");
  std::call_once(once[index], [&] { devices[index] = describe(index); });
  return devices[index];
}

void force_variant(Variant variant) { forced = variant; }

Variant forced_variant() { return forced; }

}  // namespace softgate::cuda
