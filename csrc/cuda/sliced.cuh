// The one-read variant for any layout: one cooperative launch walks the channels in slices small
// enough to wait in L2 between the two looks that batch statistics need. Device memory then sees 4e
// forward and 6e backward instead of 5e and 8e.
//
// Three slices are under way at once, so that one barrier a step serves all of them. With four slices:
//
//   step         0          1          2          3          4          5
//   finish                sums 0     sums 1     sums 2     sums 3
//   reduce     slice 0    slice 1    slice 2    slice 3
//   arrive     ---------- ---------- ---------- ---------- ----------
//   map                              slice 0    slice 1    slice 2    slice 3
//   wait       ========== ========== ========== ========== ==========
//
// Nobody waits for a map, so it stands between the halves of the barrier and hides its latency: a block that has
// arrived writes results while others still reduce. From its reduction to its map a slice waits for two steps, in
// which two others are read. A small tensor is one slice: one launch and two barriers.
#pragma once

#include "backward.cuh"

namespace softgate::cuda {

struct Slices {
  int count;
  int groups;  // of one slice
};

// A block's share of a slice: every gridDim.x-th of its blocks of work, of which each is a split of a group.
struct SliceWork {
  int first, groups, blocks;

  __device__ SliceWork(const WorkSplit& cut, const Slices& slices, int slice)
      : first(slice * slices.groups),
        groups(first + slices.groups < cut.groups ? slices.groups : cut.groups - first),
        blocks(slice >= 0 && slice < slices.count ? groups * cut.splits : 0) {}
  __device__ int group(int i) const { return first + i % groups; }
  __device__ int split(int i) const { return i / groups; }
};

// The channels of a slice, of which a block finishes kFinishLanes at a time.
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
