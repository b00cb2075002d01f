// What the launchers share: from the run-time shape of a call to the kernel compiled for it, and a
// launch that is checked.
#pragma once

#include <stdexcept>
#include <string>

#include "launch.h"
#include "reduce.cuh"

namespace softgate::cuda {

template <class T, bool kLast, class F>
void with_packing(const Packing& packing, F f) {
  constexpr int kWidth = kPackBytes / sizeof(T);
  if constexpr (sizeof(T) < 8) {
    if (packing.vector) {
      if constexpr (kLast) {
        if (packing.half_packs && packing.upsample2x) return f(Tiling<T, kLast, kWidth, true, true>{});
        if (packing.half_packs) return f(Tiling<T, kLast, kWidth, false, true>{});
      }
      if (packing.upsample2x) return f(Tiling<T, kLast, kWidth, true>{});
      return f(Tiling<T, kLast, kWidth, false>{});
    }
  }
  if (packing.upsample2x) return f(Tiling<T, kLast, 1, true>{});
  return f(Tiling<T, kLast, 1, false>{});
}

template <class F>
void with_dtype(DType dtype, F f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::f16: return f(__half{});
    case DType::bf16: return f(__nv_bfloat16{});
  }
}

// Calls f with the Tiling of a call.
template <class F>
void with_tiling(DType dtype, const Dims& dims, const Packing& packing, F f) {
  with_dtype(dtype, [&](auto value) {
    using T = decltype(value);
    if (dims.channels_last) return with_packing<T, true>(packing, f);
    return with_packing<T, false>(packing, f);
  });
}

// The same for kernels of whole packs only, such as the one-read variants.
template <class F>
void with_vector_tiling(DType dtype, const Dims& dims, const Packing& packing, F f) {
  with_tiling(dtype, dims, packing, [&](auto tiling) {
    if constexpr (decltype(tiling)::kLanes > 1) f(tiling);
  });
}

inline void check_dims(const Dims& d) {
  constexpr int64_t kMost = int64_t(1) << 31;
  if (d.n >= kMost || d.c >= kMost || d.plane() >= kMost) {
    throw std::invalid_argument(
        "softgate: the CUDA kernels take up to 2^31 - 1 samples, channels and pixels of an image, "
        "got (" + std::to_string(d.n) + ", " + std::to_string(d.c) + ", " + std::to_string(d.h) +
        ", " + std::to_string(d.w) + ")");
  }
}

struct Grid {
  int64_t blocks;
  int threads;
  size_t shared = 0;
  int cluster = 1;
  bool cooperative = false;
};

inline Grid grid_of(DType dtype, const Dims& dims, const Plan& plan) {
  return {int64_t(plan.cut.groups) * plan.cut.splits, plan.cut.threads(),
          work_bytes(dtype, dims, plan)};
}

// For the kernels that merge partial sums.
inline Grid finish_grid(int64_t channels) {
  return {(channels + kFinishLanes - 1) / kFinishLanes, kThreads, 3 * 8 * kThreads};
}

#ifdef SOFTGATE_EMULATOR
template <class... P, class... Args>
void launch(const char* name, void (*kernel)(P...), const Grid& grid, Stream, const Args&... args) {
  emulator::run({name, grid.blocks, grid.threads, grid.shared, grid.cluster, grid.cooperative},
                [&] { kernel(static_cast<P>(args)...); });
}
#else
inline void check(const char* kernel, cudaError_t error) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // said here; PyTorch's next check must not find it
  throw std::runtime_error(std::string("softgate: launching ") + kernel +
                           " failed: " + cudaGetErrorString(error));
}

// The limit belongs to the kernel, whoever launches it. Every call sets the same, all that a block may
// have on the device: by its own needs, one thread's call would take what another's is about to use.
template <class Kernel>
void allow_shared(const char* name, Kernel* kernel, int most) {
  check(name, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
}

// A grid as CUDA takes it.
struct Configuration {
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attribute = {};

  Configuration(const Configuration&) = delete;  // the one points at the other
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

template <class... P, class... Args>
void launch(const char* name, void (*kernel)(P...), const Grid& grid, Stream stream,
            const Args&... args) {
  if (grid.blocks > 0x7fffffff) {
    throw std::invalid_argument(std::string("softgate: ") + name + " would need " +
                                std::to_string(grid.blocks) + " blocks, a grid has 2^31 - 1");
  }
  if (grid.shared > 48 * 1024) allow_shared(name, kernel, current_device().shared_bytes);
  const Configuration launch(grid, stream);
  check(name, cudaLaunchKernelEx(&launch.config, kernel, static_cast<P>(args)...));
}
#endif

}  // namespace softgate::cuda
