// The packs that a thread of the resident variant keeps in shared memory between its two looks at the data. They
// lie behind the space for merges and tables. A thread reads only packs that it wrote itself, so no barrier is
// needed. The packs of neighbouring threads are neighbours, so there are no bank conflicts.
//
// kTensors is the number of tensors whose packs are kept. The other variants use 0: nothing is stored, and the
// second look reads global memory.
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

  // `number` counts the packs of the thread in the order in which it processes them.
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
