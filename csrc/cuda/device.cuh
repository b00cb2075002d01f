// What a kernel needs of the machine beyond CUDA's own words: dynamic shared memory, a barrier across
// the grid, and the shared memory of a cluster. tests/emulator gives the same names, and CUDA's own
// (threadIdx, __syncthreads, __ldcs ...), a meaning on the CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifdef SOFTGATE_EMULATOR
#include "emulator.h"
#else

#include <cooperative_groups.h>

namespace softgate::cuda {

__device__ inline char* shared_memory() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return reinterpret_cast<char*>(dynamic_shared_memory);
}

// Every global access passes here on its way; only the emulator looks at it. The flag
// marks the last touch.
__device__ inline void trace_read(const void*, int, bool = false) {}
__device__ inline void trace_write(const void*, int, bool = false) {}

// A barrier across a cooperative grid in two halves, so that work which nobody waits for hides its
// latency. What a block wrote before arrive() is visible to every block after wait().
class GridBarrier {
 public:
  __device__ void arrive() { token_ = grid_.barrier_arrive(); }
  __device__ void wait() { grid_.barrier_wait(static_cast<Token&&>(token_)); }

 private:
  using Token = cooperative_groups::grid_group::arrival_token;
  cooperative_groups::grid_group grid_ = cooperative_groups::this_grid();
  Token token_{};
};

// Clusters begin with sm_90; before, a cluster is one block.
__device__ inline void cluster_sync() {
#if __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().sync();
#else
  __syncthreads();
#endif
}

// The same place in the shared memory of another block of the cluster.
template <class S>
__device__ S* cluster_peer(S* place, int rank) {
#if __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().map_shared_rank(place, rank);
#else
  return place;
#endif
}

}  // namespace softgate::cuda

#endif
