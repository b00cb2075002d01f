// on_device.cu over a GPU that is not there: its memory is the host's, its kernels are emulated. Shows
// that the tensors' twins are where the kernels look for them, and that the results come back.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <cuda_runtime_api.h>

#include "machine.h"

namespace {

emulator::Memory device_memory;
constexpr size_t kAligned = 256;

cudaError_t pretend_malloc(void** place, size_t bytes) {
  *place = std::aligned_alloc(kAligned, (bytes / kAligned + 1) * kAligned);
  std::memset(*place, 0x11, bytes);
  emulator::memory = &device_memory;
  device_memory.add("a twin", *place, bytes, false);
  return cudaSuccess;
}

cudaError_t pretend_free(void* place) {
  device_memory.buffers.erase(reinterpret_cast<uintptr_t>(place));
  std::free(place);
  return cudaSuccess;
}

cudaError_t pretend_copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  std::memcpy(to, from, bytes);
  if (kind != cudaMemcpyHostToDevice || bytes == 0) return cudaSuccess;
  const auto at = reinterpret_cast<uintptr_t>(to);
  emulator::Buffer& buffer = (--device_memory.buffers.upper_bound(at))->second;
  std::fill_n(buffer.written.begin() + (at - buffer.begin), bytes, true);
  return cudaSuccess;
}

cudaError_t pretend_set(void* place, int value, size_t bytes) {
  std::memset(place, value, bytes);
  return cudaSuccess;
}

}  // namespace

#define cudaMalloc pretend_malloc
#define cudaFree pretend_free
#define cudaMemcpy pretend_copy
#define cudaMemset pretend_set
#define cudaDeviceSynchronize() cudaSuccess
#define cudaGetErrorString(error) "an error that does not occur"
#include "on_device.cu"

namespace softgate::cuda {

const Device& current_device() {
  static const Device device{132, 50 << 20, 227 << 10, 8, 2, 1.755e9, 3.35e12};
  return device;
}

}  // namespace softgate::cuda
