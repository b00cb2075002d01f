// The sliced variant: one cooperative launch that processes the channels in slices. A slice is small enough that
// its data stay in L2 between the two looks that batch statistics need, so each tensor moves from or to device
// memory only once.
//
// Step s finishes the sums of slice s - 1, reduces slice s and maps slice s - 2. One grid barrier between two
// steps is therefore enough. With four slices:
//
//   step         0          1          2          3          4          5
//   finish                sums 0     sums 1     sums 2     sums 3
//   reduce     slice 0    slice 1    slice 2    slice 3
//   arrive     ---------- ---------- ---------- ---------- ----------
//   map                              slice 0    slice 1    slice 2    slice 3
//   wait       ========== ========== ========== ========== ==========
//
// No thread block waits for the results of a map, so the map is between the two halves of the barrier (arrive and
// wait) and hides its latency: a thread block that has arrived stores results while others still reduce. A slice
// stays in L2 from its reduction to its map, two steps later; meanwhile two other slices are read. A small tensor
// is one slice, with one launch and two barriers.
#pragma once

#include "backward.cuh"

namespace softgate::cuda {

struct Slices {
  int count;
  int groups;  // groups of channels in one slice
};

// The work on one slice: `blocks` chunks, one for each split of each of its groups. Thread block b takes the
// chunks b, b + gridDim.x, and so on. A slice that does not exist has no chunks.
struct SliceWork {
  int first, groups, blocks;

  __device__ SliceWork(const WorkSplit& cut, const Slices& slices, int slice)
      : first(slice * slices.groups),
        groups(first + slices.groups < cut.groups ? slices.groups : cut.groups - first),
        blocks(slice >= 0 && slice < slices.count ? groups * cut.splits : 0) {}
  __device__ int group(int i) const { return first + i % groups; }
  __device__ int split(int i) const { return i / groups; }
};

// The channels of one slice whose sums this thread block finishes: kFinishLanes channels from `first` on, then those
// step() further on, up to `end`.
template <class K>
struct SliceChannels {
  int64_t first, end;

  __device__ SliceChannels(const Dims& dims, const WorkSplit& cut, const Slices& slices, int slice) {
    const int64_t channels = int64_t(slices.groups) * cut.lanes * K::kChannels;
    const bool there = slice >= 0 && slice < slices.count;
    const int64_t begin = slice * channels;
    end = !there ? begin : begin + channels < dims.c ? begin + channels : dims.c;
    first = begin + int64_t(blockIdx.x) * kFinishLanes;
  }
  __device__ static int64_t step() { return int64_t(gridDim.x) * kFinishLanes; }
};

// Moves 4 elements from and to device memory for each element of y: reads skip and branch, writes y and z. Reads y
// again from L2. The grid has at most as many thread blocks as can be resident at the same time, which the grid
// barrier requires. In channels_last a thread block has only 4 to 8 packs (64 to 128 bytes) of a pixel, so that a
// slice can have few channels.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_sliced(const __grid_constant__ Forward a, const __grid_constant__ Forward map,
                   const __grid_constant__ WorkSplit cut, const __grid_constant__ WorkSplit map_cut,
                   Slices slices, Moments<typename K::A>* partials) {
  using Plain = Tiling<typename K::T, K::kChannelsLast, K::kLanes, false>;
  GridBarrier barrier;
  for (int step = 0; step < slices.count + 2; ++step) {
    SliceChannels<K> sums(a.dims, cut, slices, step - 1);
    for (; sums.first < sums.end; sums.first += sums.step()) {
      finish_moments(a, cut.splits, partials, sums.first, sums.end);
    }
    const SliceWork reduce(cut, slices, step);
    for (int i = blockIdx.x; i < reduce.blocks; i += gridDim.x) {
      forward_reduce_block<K>(a, cut, reduce.group(i), reduce.split(i), partials);
    }
    const bool last = step == slices.count + 1;
    if (!last) barrier.arrive();
    const SliceWork ready(cut, slices, step - 2);
    for (int i = blockIdx.x; i < ready.blocks; i += gridDim.x) {
      normalise_block<Plain>(map, map_cut, ready.group(i), ready.split(i));
    }
    if (!last) barrier.wait();
  }
}

// Moves 6 elements from and to device memory for each element of y: reads dz, y, dy and skip, writes dskip and the
// gradients of the branches. Reads dz and y again from L2. The same grid and tile as forward_sliced.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_sliced(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                    Slices slices, NormSums<typename K::A>* partials, NormGradTerms<typename K::A>* terms,
                    GateSum<typename K::A>* gate_partials) {
  GridBarrier barrier;
  for (int step = 0; step < slices.count + 2; ++step) {
    SliceChannels<K> sums(a.dims, cut, slices, step - 1);
    for (; sums.first < sums.end; sums.first += sums.step()) {
      finish_norm_sums(a, cut.splits, partials, terms, sums.first, sums.end);
    }
    const SliceWork reduce(cut, slices, step);
    for (int i = blockIdx.x; i < reduce.blocks; i += gridDim.x) {
      backward_reduce_block<K>(a, cut, reduce.group(i), reduce.split(i), partials);
    }
    const bool last = step == slices.count + 1;
    if (!last) barrier.arrive();
    const SliceWork ready(cut, slices, step - 2);
    for (int i = blockIdx.x; i < ready.blocks; i += gridDim.x) {
      backward_map_block<K>(a, cut, ready.group(i), ready.split(i), true, terms, gate_partials);
    }
    if (!last) barrier.wait();
  }
  if (!a.dalpha.given) return;
  barrier.arrive();
  barrier.wait();
  for (int64_t first = int64_t(blockIdx.x) * kFinishLanes; first < a.source.skip_channels;
       first += int64_t(gridDim.x) * kFinishLanes) {
    finish_gate_sums(a, cut.splits, gate_partials, first);
  }
}

}  // namespace softgate::cuda
