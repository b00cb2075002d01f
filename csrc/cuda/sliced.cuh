// The one-read variant for any layout: one cooperative launch walks the channels in slices small
// enough to wait in L2 between the two looks that batch statistics need. Device memory then sees 4e
// forward and 6e backward instead of 5e and 8e.
//
// Three slices are under way at once, so that one barrier per step serves all of them:
//   step k:  finish the sums of slice k - 1;  reduce slice k;  map slice k - 2
// The map comes between the halves of the barrier: nobody waits for it, and it hides the latency.
// A small tensor is one slice: one launch and two barriers.
#pragma once

#include "backward.cuh"

namespace softgate::cuda {

struct Slices {
  int count;
  int groups;  // of one slice
};

// Calls work(group, split) for this block's share of a slice.
template <class Work>
__device__ void for_slice(const WorkSplit& cut, const Slices& slices, int slice, Work work) {
  const int first = slice * slices.groups;
  const int groups = first + slices.groups < cut.groups ? slices.groups : cut.groups - first;
  for (int i = blockIdx.x; i < groups * cut.splits; i += gridDim.x) {
    work(first + i % groups, i / groups);
  }
}

// Calls work(first, end) for runs of kFinishLanes channels of a slice, or of all channels.
template <class Work>
__device__ void for_channels(int64_t begin, int64_t end, Work work) {
  for (int64_t first = begin + int64_t(blockIdx.x) * kFinishLanes; first < end;
       first += int64_t(gridDim.x) * kFinishLanes) {
    work(first, end);
  }
}

template <class K, class Finish, class Reduce, class Map>
__device__ void walk_slices(const Dims& dims, const WorkSplit& cut, const Slices& slices,
                            GridBarrier& barrier, Finish finish, Reduce reduce, Map map) {
  const int64_t slice_channels = int64_t(slices.groups) * cut.lanes * K::kChannels;
  for (int step = 0; step < slices.count + 2; ++step) {
    const bool last = step == slices.count + 1;
    if (step > 0 && !last) {
      const int64_t begin = (step - 1) * slice_channels, end = begin + slice_channels;
      for_channels(begin, end < dims.c ? end : dims.c, finish);
    }
    if (step < slices.count) for_slice(cut, slices, step, reduce);
    if (!last) barrier.arrive();
    if (step > 1) for_slice(cut, slices, step - 2, map);
    if (!last) barrier.wait();
  }
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_sliced(const __grid_constant__ Forward a, const __grid_constant__ Forward map,
                   const __grid_constant__ WorkSplit cut, const __grid_constant__ WorkSplit map_cut,
                   Slices slices, Moments<typename K::A>* partials) {
  using Plain = Tiling<typename K::T, K::kChannelsLast, K::kLanes, false>;
  GridBarrier barrier;
  walk_slices<K>(
      a.dims, cut, slices, barrier,
      [&](int64_t first, int64_t end) { finish_moments(a, cut.splits, partials, first, end); },
      [&](int group, int split) {
        Moments<typename K::A> moments[K::kChannels] = {};
        forward_reduce_chunk<K>(a, cut, group, split, moments, KeepNothing{});
        write_partials<K>(a.dims, cut, group, split, moments, partials);
      },
      [&](int group, int split) { forward_map_chunk<Plain>(map, map_cut, group, split); });
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_sliced(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                    Slices slices, NormSums<typename K::A>* partials, NormGradTerms<typename K::A>* terms,
                    GateSum<typename K::A>* gate_partials) {
  GridBarrier barrier;
  walk_slices<K>(
      a.dims, cut, slices, barrier,
      [&](int64_t first, int64_t end) {
        finish_norm_sums(a, cut.splits, partials, terms, first, end);
      },
      [&](int group, int split) {
        NormSums<typename K::A> sums[K::kChannels] = {};
        backward_reduce_chunk<K>(a, cut, group, split, sums, KeepNothing{});
        write_partials<K>(a.dims, cut, group, split, sums, partials);
      },
      [&](int group, int split) {
        backward_map_block<K>(a, cut, group, split, true, terms, gate_partials);
      });
  if (!a.dalpha.given) return;
  barrier.arrive();
  barrier.wait();
  for_channels(0, a.source.skip_channels, [&](int64_t first, int64_t) {
    finish_gate_sums(a, cut.splits, gate_partials, first);
  });
}

}  // namespace softgate::cuda
