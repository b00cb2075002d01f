// y = alpha * skip + cat(branches) (+ low), its batch statistics, and z = relu(batch_norm(y)).
//
// Two passes, bytes in units of one activation e: `reduce` reads the source and writes y (3e for one
// branch tensor and a skip) while it sums the moments of what it wrote; `map` reads y and writes z
// (2e). Where the statistics are known beforehand, `map` does everything in one pass (4e). The skip of a
// closed gate is not read.
#pragma once

#include "kept.cuh"
#include "reduce.cuh"
#include "source.cuh"

namespace softgate::cuda {

// Writes y of a chunk and makes this thread's share of its moments. kKeepInL2: the branch is y, there is nothing to
// write, and a later pass reads the branch again.
//
// Two packs of skip and branch are in flight, 64 bytes a thread: where three blocks fit, 48 KB a multiprocessor, of
// the about 32 that rate times latency asks for.
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

// z of one pack of y.
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

// Writes y and z of a chunk, each where it is wanted; the statistics are known.
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

// z of a chunk of y, the only branch of the source. Nothing but y is read, so that all constants of a thread's
// channels fit its registers beside four packs in flight.
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

// Writes y of a chunk, and its moments as the partial results of a split.
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

// The statistics of kFinishLanes channels.
template <class A>
__device__ void finish_moments(const Forward& a, int splits, const Moments<A>* partials,
                               int64_t first, int64_t end) {
  Moments<A> total;
  if (finish(partials, splits, a.dims.c, first, end, total)) {
    write_statistics(a, finished_channel(first), total);
  }
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_reduce(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut,
                   Moments<typename K::A>* partials) {
  forward_reduce_block<K>(a, cut, blockIdx.x % cut.groups, blockIdx.x / cut.groups, partials);
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    forward_finish(const __grid_constant__ Forward a, int splits, const Moments<A>* partials) {
  finish_moments(a, splits, partials, int64_t(blockIdx.x) * kFinishLanes, a.dims.c);
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_map(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut) {
  forward_map_block<K>(a, cut, blockIdx.x % cut.groups, blockIdx.x / cut.groups);
}

// Blocks run backwards: the y that forward_reduce wrote last is still in L2.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_normalise(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut) {
  const int work = gridDim.x - 1 - blockIdx.x;
  normalise_block<K>(a, cut, work % cut.groups, work / cut.groups);
}

}  // namespace softgate::cuda
