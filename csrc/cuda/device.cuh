// The parts of CUDA that the kernels use through a wrapper: dynamic shared memory, the barrier across a grid, and the
// distributed shared memory of a cluster. tests/emulator implements the same functions, and those of CUDA itself
// (threadIdx, __syncthreads, __ldcs ...), on the CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifdef SOFTGATE_EMULATOR
#include "emulator.h"
#else

#include <cooperative_groups.h>

namespace softgate::cuda {

// The dynamic shared memory of the thread block, aligned to 16 bytes.
__device__ inline char* shared_memory() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return reinterpret_cast<char*>(dynamic_shared_memory);
}

// Called for every access to global memory, with the address and the number of bytes. They do nothing here; the
// emulator counts and checks the accesses. The flag marks a streaming access (_cs in pack.cuh).
__device__ inline void trace_read(const void*, int, bool = false) {}
__device__ inline void trace_write(const void*, int, bool = false) {}

// A barrier across a cooperative grid, split into arrive and wait. Work between the two, for which no other thread
// block waits, hides the latency of the barrier. Global memory that a thread block wrote before arrive() is
// visible to all thread blocks after wait().
class GridBarrier {
 public:
  __device__ void arrive() { token_ = grid_.barrier_arrive(); }
  __device__ void wait() { grid_.barrier_wait(static_cast<Token&&>(token_)); }

 private:
  using Token = cooperative_groups::grid_group::arrival_token;
  cooperative_groups::grid_group grid_ = cooperative_groups::this_grid();
  Token token_{};
};

// A barrier across the thread blocks of a cluster. Before sm_90 a cluster is one thread block.
__device__ inline void cluster_sync() {
#if __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().sync();
#else
  __syncthreads();
#endif
}

// The address of `place` in the distributed shared memory of another thread block of the cluster. `place` is an
// address in the shared memory of this thread block; `rank` is the number of the other one in the cluster.
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
