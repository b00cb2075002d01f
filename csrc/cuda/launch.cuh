// The common parts of the launchers: the choice of the template instance for the dtype, layout and packs of a pass,
// and a kernel launch with error checks.
#pragma once

#include <atomic>
#include <string>

#include "launch.h"
#include "reduce.cuh"

namespace softgate::cuda {

// The tilings for which the kernels are compiled, with packs of 16 bytes and with packs of one value.
template <class... K>
struct Tilings {};

template <class T, int kWidth = kPackBytes / sizeof(T)>
using WholePacks = Tilings<
    Tiling<T, false, kWidth, false>, Tiling<T, false, kWidth, true>,
    Tiling<T, true, kWidth, false>, Tiling<T, true, kWidth, true>,
    Tiling<T, true, kWidth, false, true>, Tiling<T, true, kWidth, true, true>>;

template <class T>
using SingleValues = Tilings<Tiling<T, false, 1, false>, Tiling<T, false, 1, true>,
                             Tiling<T, true, 1, false>, Tiling<T, true, 1, true>>;

// Calls f with the one of the tilings that matches the layout and the packs of a pass.
template <class F, class... K>
void with_one_of(Tilings<K...>, const Dims& dims, const Packing& packing, F f) {
  const auto matches = [&](auto k) {
    using Each = decltype(k);
    return Each::kChannelsLast == dims.channels_last && Each::kUpsample2x == packing.upsample2x &&
           Each::kHalfPacks == packing.half_packs;
  };
  (void)((matches(K{}) && (f(K{}), true)) || ...);
}

template <class T, class F>
void with_values(const Dims& dims, const Packing& packing, F f) {
  if constexpr (sizeof(T) < 8) {
    if (packing.vector) return with_one_of(WholePacks<T>{}, dims, packing, f);
  }
  with_one_of(SingleValues<T>{}, dims, packing, f);
}

// Calls f with a value of the Tiling of a pass.
template <class F>
void with_tiling(DType dtype, const Dims& dims, const Packing& packing, F f) {
  switch (dtype) {
    case DType::f32: return with_values<float>(dims, packing, f);
    case DType::f64: return with_values<double>(dims, packing, f);
    case DType::f16: return with_values<__half>(dims, packing, f);
    case DType::bf16: return with_values<__nv_bfloat16>(dims, packing, f);
  }
}

struct Grid {
  int64_t blocks;
  int threads;
  size_t shared = 0;
  int cluster = 1;
  bool cooperative = false;
};

inline Grid grid_of(const Pass& pass) { return {pass.blocks, pass.cut.threads(), pass.shared}; }

// The grid of a kernel that merges partial sums, the largest of which has three doubles (24 bytes) a thread.
inline Grid finish_grid(int64_t channels) {
  return {(channels + kFinishLanes - 1) / kFinishLanes, kThreads, 3 * 8 * kThreads};
}

#ifdef SOFTGATE_EMULATOR
template <auto kernel, class... Args>
void launch_kernel(const char* name, const Grid& grid, Stream, const Args&... args) {
  if (grid.cooperative && emulator::refuse_cooperative) throw CooperativeRefused(name);
  emulator::run({name, grid.blocks, grid.threads, grid.shared, grid.cluster, grid.cooperative},
                [&] { kernel(args...); });
}
#else
inline void check(const char* kernel, cudaError_t error) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // clears the error, which is reported here and must not appear in PyTorch's next check
  throw std::runtime_error(std::string("softgate: launching ") + kernel +
                           " failed: " + cudaGetErrorString(error));
}

constexpr int kMaxDevices = 64;

inline int device_index() {
  int index = 0;
  check("a kernel (query of the current device)", cudaGetDevice(&index));
  if (index >= kMaxDevices) throw std::runtime_error("softgate: more than 64 CUDA devices; set CUDA_VISIBLE_DEVICES");
  return index;
}

// Allows a kernel more than 48 KiB of dynamic shared memory, once for each device, and always up to the maximum of
// the device. If each call set only the size that it needs, one host thread could lower the limit just before
// another host thread launches the same kernel with more.
template <auto kernel>
void allow_shared(const char* name, int index, int most) {
  static std::atomic<uint64_t> allowed{0};  // one bit for each device
  const uint64_t bit = uint64_t(1) << index;
  if (allowed & bit) return;
  check(name, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
  allowed |= bit;
}

// A Grid as the arguments of cudaLaunchKernelEx.
struct Configuration {
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attribute = {};

  Configuration(const Configuration&) = delete;  // config.attrs points to `attribute`
  Configuration(const Grid& grid, Stream stream) {
    config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
    config.blockDim = dim3(grid.threads);
    config.dynamicSmemBytes = grid.shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = grid.cluster > 1 || grid.cooperative;
    if (grid.cluster > 1) {
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {static_cast<unsigned>(grid.cluster), 1, 1};
    } else {
      attribute.id = cudaLaunchAttributeCooperative;
      attribute.val.cooperative = grid.cooperative;
    }
  }
};

inline bool refuses_grids(cudaError_t error) {
  return error == cudaErrorCooperativeLaunchTooLarge || error == cudaErrorNotSupported ||
         error == cudaErrorNotPermitted;
}

template <auto kernel, class... Args>
void launch_kernel(const char* name, const Grid& grid, Stream stream, const Args&... args) {
  if (grid.blocks > 0x7fffffff) {
    throw std::invalid_argument(std::string("softgate: ") + name + " would need " +
                                std::to_string(grid.blocks) +
                                " thread blocks, a grid has at most 2^31 - 1; use a smaller batch");
  }
  if (grid.shared > 48 * 1024) {
    allow_shared<kernel>(name, device_index(), current_device().shared_bytes);
  }
  const Configuration launch(grid, stream);
  const cudaError_t error = cudaLaunchKernelEx(&launch.config, kernel, args...);
  if (grid.cooperative && refuses_grids(error)) {
    (void)cudaGetLastError();
    throw CooperativeRefused(std::string("softgate: launching ") + name +
                             " failed: " + cudaGetErrorString(error));
  }
  check(name, error);
}
#endif

}  // namespace softgate::cuda
