// The forward: y = alpha * skip + cat(branches) (+ low), its batch statistics, and z = relu(batch_norm(y)).
//
// In training there are two passes. forward_reduce computes and stores y and sums its moments; forward_normalise
// reads y and stores z. In evaluation forward_map does everything in one pass. The comment of each kernel gives
// the elements that it moves from and to global memory for each element of y; an element has 2, 4 or 8 bytes. They
// are those of a block with a skip and branches. bn_relu has no skip and stores no y: 2 fewer. A skip whose gate
// is closed (alpha = 0) is not read: 1 fewer. low counts 1/4.
//
// All kernels divide the work in the same way (WorkSplit in plan.h). A thread block of 256 threads has one channel
// in the contiguous layout, and up to 32 packs (512 bytes) of a pixel in channels_last. Its channels fit one table
// of constants, and their sums stay in registers until the end.
#pragma once

#include "kept.cuh"
#include "reduce.cuh"
#include "source.cuh"

namespace softgate::cuda {

// Computes and stores y of a chunk, and returns the moments of this thread's values. They are the moments of y as
// stored, rounded to T. kKeepInL2: the branch is y itself (bn_relu); nothing is stored, and a later pass reads the
// branch again.
//
// A thread has two packs of the skip and two of the branch in flight, 64 bytes. With three thread blocks on a
// multiprocessor these are 48 KiB; by Little's law (bandwidth times latency) an H200 needs about 32 KiB.
template <bool kKeepInL2, class K, class Keep>
__device__ void forward_reduce_chunk(const Forward& a, const WorkSplit& cut, const ThreadPosition<K>& thread,
                                     int group, Moments<typename K::A> (&moments)[K::kChannels],
                                     const Keep& kept) {
  using Step = Step<K, 2>;
  const Table<K> table(cut, thread, group, a.dims, &a.source, nullptr, nullptr, nullptr, nullptr);
  if (!thread.active) return;
  const SourceReader<K> source(a.source, a.dims, table, thread);
  const Output<K> y = output<K>(a.y, a.dims, thread);
  ChannelSums<K> sums;
  ItemIterator<K> items(cut, thread);
  int number = 0;
#pragma unroll 1
  while (items.left > 0) {
    const typename K::LowValues low = source.load_low(items);
#pragma unroll 1
    for (int turn = 0; turn < Step::kTurns; ++turn) {
      const Step step(items, turn);
      typename SourceReader<K>::Loaded loaded[Step::kPacks];
#pragma unroll
      for (int p = 0; p < Step::kPacks; ++p) {
        loaded[p] = source.template load_pack<kKeepInL2>(step.pack[p]);
      }
#pragma unroll
      for (int p = 0; p < Step::kPacks; ++p) {
        if (!step.has(p)) continue;
        forget_registers();
        const typename K::Values pack = source.value(loaded[p], low, table);
        if (y) store(y.at(step.pack[p]), pack);
        kept.put(number + p, 0, pack);
        if (p == 0) sums.shift_to(pack);
        sums.add(pack);
      }
      number += Step::kPacks;
    }
  }
  sums.moments(moments);
}

// Computes z of one pack of y.
template <class K>
__device__ typename K::Values normalise(const typename K::Values& y, const Table<K>& table,
                                        bool with_relu) {
  using A = typename K::A;
  A z[K::kLanes];
#pragma unroll
  for (int first = 0; first < K::kLanes; first += K::kGroup) {
    A mean[K::kGroupChannels], scale[K::kGroupChannels], bias[K::kGroupChannels];
    table.read(kMean, first, mean);
    table.read(kScale, first, scale);
    table.read(kBias, first, bias);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) {
      const int v = first + i, c = K::channel_of(i);
      z[v] = pre_activation(y.get(v), mean[c], scale[c], bias[c]);
    }
  }
  typename K::Values pack;
  pack.set(z, with_relu);
  return pack;
}

// Computes y and z of a chunk with known statistics, and stores those that the call has. As in
// forward_reduce_chunk, a thread has two packs of two tensors in flight.
template <class K>
__device__ void forward_map_block(const Forward& a, const WorkSplit& cut, int group, int split) {
  using Step = Step<K, 2>;
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const Table<K> table(cut, thread, group, a.dims, &a.source, a.z.given ? &a.norm : nullptr, a.mean.data, a.var.data,
                       nullptr);
  if (!thread.active) return;
  const SourceReader<K> source(a.source, a.dims, table, thread);
  const Output<K> y = output<K>(a.y, a.dims, thread);
  const Output<K> z = output<K>(a.z, a.dims, thread);
  ItemIterator<K> items(cut, thread);
#pragma unroll 1
  while (items.left > 0) {
    const typename K::LowValues low = source.load_low(items);
#pragma unroll 1
    for (int turn = 0; turn < Step::kTurns; ++turn) {
      const Step step(items, turn);
      typename SourceReader<K>::Loaded loaded[Step::kPacks];
#pragma unroll
      for (int p = 0; p < Step::kPacks; ++p) {
        loaded[p] = source.template load_pack<false>(step.pack[p]);
      }
#pragma unroll
      for (int p = 0; p < Step::kPacks; ++p) {
        if (!step.has(p)) continue;
        forget_registers();
        const typename K::Values pack = source.value(loaded[p], low, table);
        if (y) store_cs(y.at(step.pack[p]), pack);
        if (z) store_cs(z.at(step.pack[p]), normalise(pack, table, a.norm.relu));
      }
    }
  }
}

// Computes z of a chunk of y, which is the only branch of the source. Only y is read, so a thread has registers
// for four packs in flight (64 bytes) and for all constants of its channels.
template <class K>
__device__ void normalise_block(const Forward& a, const WorkSplit& cut, int group, int split) {
  using A = typename K::A;
  using Step = Step<K, 4>;
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const Table<K> table(cut, thread, group, a.dims, nullptr, &a.norm, a.mean.data, a.var.data, nullptr);
  if (!thread.active) return;
  A mean[K::kChannels], scale[K::kChannels], bias[K::kChannels];
  table.read_all(kMean, mean);
  table.read_all(kScale, scale);
  table.read_all(kBias, bias);
  const Input<K> y = input<K>(a.source.branch[0], a.dims, thread);
  const Output<K> z = output<K>(a.z, a.dims, thread);
  ItemIterator<K> items(cut, thread);
#pragma unroll 1
  while (items.left > 0) {
    const Step step(items, 0);
    typename K::Values pack[Step::kPacks];
#pragma unroll
    for (int p = 0; p < Step::kPacks; ++p) {
      pack[p] = load_cs<typename K::Values>(y.at(step.pack[p]));
    }
#pragma unroll
    for (int p = 0; p < Step::kPacks; ++p) {
      if (!step.has(p)) continue;
      A value[K::kLanes];
#pragma unroll
      for (int v = 0; v < K::kLanes; ++v) {
        const int c = K::channel_of(v);
        value[v] = pre_activation(pack[p].get(v), mean[c], scale[c], bias[c]);
      }
      pack[p].set(value, a.norm.relu);
      store_cs(z.at(step.pack[p]), pack[p]);
    }
  }
}

// Stores y of a chunk, and its moments as the partial results of the split.
template <class K>
__device__ void forward_reduce_block(const Forward& a, const WorkSplit& cut, int group, int split,
                                     Moments<typename K::A>* partials) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  Moments<typename K::A> moments[K::kChannels] = {};
  if (a.y.given) {
    forward_reduce_chunk<false>(a, cut, thread, group, moments, Kept<K, 0>());
  } else {
    forward_reduce_chunk<true>(a, cut, thread, group, moments, Kept<K, 0>());
  }
  write_partials<K>(a.dims, cut, thread, split, moments, partials);
}

template <class A>
__device__ void write_statistics(const Forward& a, int64_t channel, const Moments<A>& total) {
  set_channel_value(a.mean, channel, total.mean);
  set_channel_value(a.var, channel, total.m2 / total.count);
}

// Merges the partial results of kFinishLanes channels and stores their mean and biased variance.
template <class A>
__device__ void finish_moments(const Forward& a, int splits, const Moments<A>* partials,
                               int64_t first, int64_t end) {
  Moments<A> total;
  if (finish(partials, splits, a.dims.c, first, end, total)) {
    write_statistics(a, finished_channel(first), total);
  }
}

// The first pass in training. Reads skip and branch and writes y: 3 elements for each element of y. Thread blocks
// with consecutive numbers have the same split of consecutive groups: in channels_last they access neighbouring
// channels of the same pixels.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_reduce(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut,
                   Moments<typename K::A>* partials) {
  forward_reduce_block<K>(a, cut, blockIdx.x % cut.groups, blockIdx.x / cut.groups, partials);
}

// Merges the partial results of all splits: reads 3 accumulators for each channel and split, and writes mean and
// var. A thread block has 8 channels by 32 rows of splits, so that a row of it reads 96 consecutive bytes (float).
template <class A>
__global__ void __launch_bounds__(kThreads)
    forward_finish(const __grid_constant__ Forward a, int splits, const Moments<A>* partials) {
  finish_moments(a, splits, partials, int64_t(blockIdx.x) * kFinishLanes, a.dims.c);
}

// The only pass in evaluation or without a norm (but bn_relu uses forward_normalise). Reads skip and branch and
// writes y and z: 4 elements for each element of y, 3 without a norm. The same tile as forward_reduce.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_map(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut) {
  forward_map_block<K>(a, cut, blockIdx.x % cut.groups, blockIdx.x / cut.groups);
}

// The second pass in training, and the only pass of bn_relu in evaluation. Reads y and writes z: 2 elements for
// each element of y, of which those of y come partly from L2. The thread blocks process the chunks in reverse
// order, because the y that forward_reduce wrote last is still in L2.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_normalise(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut) {
  const int work = gridDim.x - 1 - blockIdx.x;
  normalise_block<K>(a, cut, work % cut.groups, work / cut.groups);
}

}  // namespace softgate::cuda
