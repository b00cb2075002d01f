// y = alpha * skip + cat(branches) (+ low), its batch statistics, and z = relu(batch_norm(y)).
//
// Two passes, bytes in units of one activation e: `reduce` reads the source and writes y (3e for one
// branch tensor and a skip) while it sums the moments of what it wrote; `map` reads y and writes z
// (2e). Where the statistics are known beforehand, `map` does everything in one pass (4e). The skip of a
// closed gate is not read.
#pragma once

#include "reduce.cuh"
#include "source.cuh"

namespace softgate::cuda {

// Keeps nothing: the packs of y are read again from memory.
struct KeepNothing {
  template <class... P>
  __device__ void operator()(int, const P&...) const {}
};

// Calls use(number, n, pixel, y, starts) for the packs of y of a chunk; `starts` is a constant that says
// whether the pack is of the thread's first item. K::kLoadsInFlight packs of each tensor of the source are in
// flight before the first is used. kKeepInL2: a later pass reads the branch once more.
template <bool kKeepInL2, class K, class Use>
__device__ void for_packs_of_y(const Forward& a, const WorkSplit& cut, int split, const ThreadPosition<K>& thread,
                               const Table<K>& table, Use use) {
  const SourceReader<K> source(a.source, a.dims, table, thread);
  ItemIterator<K> iterator(a.dims, cut, split, thread.row);
  int first = 0;
  const auto take = [&](auto count, auto starts) {
    constexpr int kItems = decltype(count)::value;
    constexpr int kPart = K::kPacks < K::kLoadsInFlight ? K::kPacks : K::kLoadsInFlight;  // of an item at once
    ItemOffset<K> item[kItems];
    typename K::LowValues low[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      item[i] = iterator.next();
      low[i] = source.load_low(item[i]);
    }
#pragma unroll 1
    for (int begin = 0; begin < K::kPacks; begin += kPart) {
      typename SourceReader<K>::Loaded loaded[kItems][kPart];
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
#pragma unroll
        for (int p = 0; p < kPart; ++p) {
          loaded[i][p] = source.template load_pack<kKeepInL2>(iterator, item[i], begin + p);
        }
      }
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
#pragma unroll
        for (int p = 0; p < kPart; ++p) {
          forget_registers();
          use(first + i * K::kPacks + begin + p, item[i].n, item[i].first + iterator.offset(begin + p),
              source.value(loaded[i][p], low[i], table, thread.lane), starts);
        }
      }
    }
    first += kItems * K::kPacks;
  };
  constexpr int kItems = K::kPacks < K::kLoadsInFlight ? K::kLoadsInFlight / K::kPacks : 1;
  using One = std::integral_constant<int, 1>;
  if (iterator.left > 0) take(One{}, std::true_type{});
#pragma unroll 1
  while (iterator.left >= kItems) take(std::integral_constant<int, kItems>{}, std::false_type{});
  if (kItems > 1 && iterator.left > 0) take(One{}, std::false_type{});  // kItems is 2 then
}

// Writes y and adds this thread's share of it to the moments. Pack number i of the thread is shown to
// keep(i, pack).
template <class K, class Keep>
__device__ void forward_reduce_chunk(const Forward& a, const WorkSplit& cut, int group, int split,
                                     Moments<typename K::A> (&moments)[K::kChannels], Keep keep) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const Table<K> table(cut, group, a.dims, &a.source, nullptr, nullptr, nullptr, nullptr);
  if (!thread.active) return;
  const Output<K> y = output<K>(a.y, a.dims, thread);
  ChannelSums<K> sums;
  const auto use = [&](int i, int n, typename K::Pixel pixel, const typename K::Values& pack,
                       auto starts) {
    if (y) store(y.at(n, pixel), pack);
    keep(i, pack);
    if (decltype(starts)::value && i == 0) sums.start(pack);
    sums.add(pack);
  };
  if (std::is_same_v<Keep, KeepNothing> && !a.y.given) {  // the branch is y
    for_packs_of_y<true>(a, cut, split, thread, table, use);
  } else {
    for_packs_of_y<false>(a, cut, split, thread, table, use);
  }
  sums.moments(moments);
}

// z of one pack of y.
template <class K>
__device__ typename K::Values normalise(const typename K::Values& y, const Table<K>& table, int lane,
                                        bool with_relu) {
  using A = typename K::A;
  A z[K::kLanes];
#pragma unroll
  for (int first = 0; first < K::kLanes; first += K::kGroup) {
    A mean[K::kGroupChannels], scale[K::kGroupChannels], bias[K::kGroupChannels];
    table.read(kMean, lane, first, mean);
    table.read(kScale, lane, first, scale);
    table.read(kBias, lane, first, bias);
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
__device__ void forward_map_chunk(const Forward& a, const WorkSplit& cut, int group, int split) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const Table<K> table(cut, group, a.dims, &a.source, a.z.given ? &a.norm : nullptr, a.mean.data, a.var.data,
                       nullptr);
  if (!thread.active) return;
  const Output<K> y = output<K>(a.y, a.dims, thread);
  const Output<K> z = output<K>(a.z, a.dims, thread);
  for_packs_of_y<false>(
      a, cut, split, thread, table,
      [&](int, int n, typename K::Pixel pixel, const typename K::Values& pack, auto) {
        if (y) store_cs(y.at(n, pixel), pack);
        if (z) store_cs(z.at(n, pixel), normalise(pack, table, thread.lane, a.norm.relu));
      });
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_reduce(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut,
                   Moments<typename K::A>* partials) {
  const int group = blockIdx.x % cut.groups, split = blockIdx.x / cut.groups;
  Moments<typename K::A> moments[K::kChannels] = {};
  forward_reduce_chunk<K>(a, cut, group, split, moments, KeepNothing{});
  write_partials<K>(a.dims, cut, group, split, moments, partials);
}

template <class A>
__device__ void write_statistics(const Forward& a, int64_t channel, const Moments<A>& total) {
  set_channel_value(a.mean, channel, total.mean);
  set_channel_value(a.var, channel, total.m2 / total.count);
}

template <class A>
__device__ void finish_moments(const Forward& a, int splits, const Moments<A>* partials,
                               int64_t first, int64_t end) {
  finish(partials, splits, a.dims.c, first, end, reinterpret_cast<Moments<A>*>(shared_memory()),
         [&](int64_t channel, const Moments<A>& total) { write_statistics(a, channel, total); });
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    forward_finish(const __grid_constant__ Forward a, int splits, const Moments<A>* partials) {
  finish_moments(a, splits, partials, int64_t(blockIdx.x) * kFinishLanes, a.dims.c);
}

// Blocks run backwards: the y that reduce wrote last is still in L2.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_map(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut) {
  const int work = gridDim.x - 1 - blockIdx.x;
  forward_map_chunk<K>(a, cut, work % cut.groups, work / cut.groups);
}

}  // namespace softgate::cuda
