// The packs that a thread of the resident variant keeps between its two looks at them, in shared memory past the
// space for merges and tables. A thread reads back what it wrote itself: no barrier, no bank conflict.
//
// kTensors: of which it keeps the packs. With none, a pass that another kernel follows, everything here is empty
// and the packs are read again from memory.
#pragma once

#include "tile.cuh"

namespace softgate::cuda {

template <class K, int kTensors_>
class Kept {
 public:
  static constexpr int kTensors = kTensors_;
  using Values = typename K::Values;

  __device__ explicit Kept(size_t offset = 0)
      : packs_(kTensors == 0 ? nullptr : reinterpret_cast<Values*>(shared_memory() + offset)) {}

  // Of pack `number` of the thread, in the order in which it walks them.
  __device__ void put(int number, int tensor, const Values& pack) const {
    if constexpr (kTensors > 0) packs_[at(number, tensor)] = pack;
  }
  __device__ Values get(int number, int tensor) const { return packs_[at(number, tensor)]; }

 private:
  __device__ static int at(int number, int tensor) {
    return (number * kTensors + tensor) * blockDim.x + threadIdx.x;
  }

  Values* packs_;
};

}  // namespace softgate::cuda
