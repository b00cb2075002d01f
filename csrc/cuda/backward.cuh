// d = dy + batch_norm'(relu'(dz)), handed back through the source: dskip = alpha * d, the branches'
// gradients are slices of d written to their own tensors, and the gradient of low is the sum of its
// four children, made in the one thread that has them all.
//
// Two passes, bytes in units of one activation e: `reduce` reads dz and y (2e) for the two sums that
// batch statistics need; `map` reads dz, y, dy and skip and writes dskip and the branches' gradients
// (6e). The ReLU mask is recomputed from y: no mask is stored.
#pragma once

#include "forward.cuh"

namespace softgate::cuda {

// The gradient behind the ReLU, and how far y is from the mean, at the values v, v + 1, ... of a pack.
template <class K>
struct ReluGrad {
  using A = typename K::A;
  A g[K::kGroup], deviation[K::kGroup], scale[K::kGroupChannels];

  __device__ ReluGrad(const Table<K>& table, int lane, bool with_relu, int first,
                    const typename K::Values& dz, const typename K::Values& y) {
    A mean[K::kGroupChannels], bias[K::kGroupChannels];
    table.read(kMean, lane, first, mean);
    table.read(kScale, lane, first, scale);
    table.read(kBias, lane, first, bias);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) {
      const int c = K::channel_of(i);
      const A wide = y.get(first + i);
      g[i] = dz.get(first + i);
      deviation[i] = wide - mean[c];
      if (with_relu) g[i] = relu_grad(g[i], pre_activation(wide, mean[c], scale[c], bias[c]));
    }
  }
};

// Adds this thread's share of dz and y to the sums. Pack number i is shown to keep(i, dz, y).
template <class K, class Keep>
__device__ void backward_reduce_chunk(const Backward& a, const WorkSplit& cut, int group, int split,
                                      NormSums<typename K::A> (&sums)[K::kChannels], Keep keep) {
  constexpr int kItems = K::kPacks == 1 ? 2 : 1;  // two tensors, two packs of each in flight
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const Table<K> table(cut, group, a.dims, nullptr, &a.norm, a.mean.data, a.var.data, nullptr);
  if (!thread.active) return;
  const Input<K> dz = input<K>(a.dz, a.dims, thread);
  const Input<K> y = input<K>(a.y, a.dims, thread);
  ItemIterator<K> iterator(a.dims, cut, split, thread.row);
#pragma unroll 1
  for (int first = 0; iterator.left > 0; first += kItems * K::kPacks) {
    forget_registers();
    const int items = iterator.left < kItems ? iterator.left : kItems;
    typename K::Values dz_pack[kItems * K::kPacks], y_pack[kItems * K::kPacks];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (i < items) {
        const ItemOffset<K> item = iterator.next();
#pragma unroll
        for (int q = 0; q < K::kPacks; ++q) {
          const typename K::Pixel pixel = item.first + iterator.offset(q);
          dz_pack[i * K::kPacks + q] = load<typename K::Values>(dz.at(item.n, pixel));
          y_pack[i * K::kPacks + q] = load<typename K::Values>(y.at(item.n, pixel));
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kItems * K::kPacks; ++k) {
      if (k < items * K::kPacks) {
        forget_registers();
        keep(first + k, dz_pack[k], y_pack[k]);
#pragma unroll
        for (int v = 0; v < K::kLanes; v += K::kGroup) {
          const ReluGrad<K> at(table, thread.lane, a.norm.relu, v, dz_pack[k], y_pack[k]);
#pragma unroll
          for (int i = 0; i < K::kGroup; ++i) {
            const int c = K::channel_of(v + i);
            sums[c].g += at.g[i];
            sums[c].gy += at.g[i] * at.deviation[i];
          }
        }
      }
    }
  }
}

// Adds the gradient of batch_norm at one pack to d. In evaluation without the terms of the statistics,
// which are zero: an infinite y times zero would be NaN.
template <class K>
__device__ void add_norm_grad(const Table<K>& table, int lane, bool with_relu, bool training,
                              const typename K::Values& dz, const typename K::Values& y,
                              typename K::A (&d)[K::kLanes]) {
  using A = typename K::A;
#pragma unroll
  for (int v = 0; v < K::kLanes; v += K::kGroup) {
    forget_registers();
    const ReluGrad<K> at(table, lane, with_relu, v, dz, y);
    A mean_g[K::kGroupChannels], slope[K::kGroupChannels];
    table.read(kMeanG, lane, v, mean_g);
    table.read(kSlope, lane, v, slope);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) {
      const int c = K::channel_of(i);
      d[v + i] += training ? norm_grad(at.g[i], at.deviation[i], A(0), at.scale[c], mean_g[c], slope[c])
                           : at.scale[c] * at.g[i];
    }
  }
}

// Where the gradient of a thread's channels goes.
template <class K>
struct Sinks {
  using A = typename K::A;
  Input<K> skip;  // read for alpha's gradient
  Output<K> dskip, dlow;
  BranchView<K, typename K::T, const Out[kMaxBranches]> branch;

  __device__ Sinks(const Backward& a, const ThreadPosition<K>& thread)
      : branch(a.source, a.dbranch, plane_of(a.dims), thread) {
    using T = typename K::T;
    const Source& s = a.source;
    const int64_t plane = plane_of(a.dims), channels = s.skip_channels;
    const int64_t channel = thread.channel, low_channel = channel - low_start(s, a.dims);
    if (channel < channels) {
      if (a.dalpha.given) {
        skip = {static_cast<const T*>(s.skip.data), channels, plane, channel, thread.origin};
      }
      if (a.dskip.given) {
        dskip = {static_cast<T*>(a.dskip.data), channels, plane, channel, thread.origin};
      }
    }
    if (K::kUpsample2x && a.dlow.given && low_channel >= 0) {
      dlow = {static_cast<T*>(a.dlow.data), s.low_channels, plane / 4, low_channel, thread.origin};
    }
  }
};

// Reads dz and y of pack number i of the thread from memory.
template <class K>
struct ReadMemory {
  Input<K> dz, y;
  __device__ void operator()(int, int n, typename K::Pixel pixel, typename K::Values& dz_pack,
                             typename K::Values& y_pack) const {
    dz_pack = load_cs<typename K::Values>(dz.at(n, pixel));
    y_pack = load_cs<typename K::Values>(y.at(n, pixel));
  }
};

// Writes the gradients of a chunk and adds skip * d to the sums of alpha. One pack of each of four
// tensors is in flight: with the registers that more would take, fewer threads would fit. `training` is
// a constant in the one-read kernels, which have no register for a choice.
template <class K, class Read>
__device__ void backward_map_chunk(const Backward& a, const WorkSplit& cut, int group, int split,
                                   bool training,
                                   const NormGradTerms<typename K::A>* terms,
                                   GateSum<typename K::A> (&sums)[K::kChannels], Read read) {
  using A = typename K::A;
  using Values = typename K::Values;
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const bool normed = a.dz.given;
  const Table<K> table(cut, group, a.dims, &a.source, normed ? &a.norm : nullptr, a.mean.data, a.var.data,
                       terms);
  if (!thread.active) return;
  const Sinks<K> to(a, thread);
  const Input<K> dy = input<K>(a.dy, a.dims, thread);
  ItemIterator<K> iterator(a.dims, cut, split, thread.row);
#pragma unroll 1
  for (int first = 0; iterator.left > 0; first += K::kPacks) {
    const ItemOffset<K> item = iterator.next();
    A low[K::kLowLanes] = {};
#pragma unroll 1
    for (int q = 0; q < K::kPacks; ++q) {
      forget_registers();
      const typename K::Pixel pixel = item.first + iterator.offset(q);
      Values dz_pack, y_pack, dy_pack{}, skip_pack{};
      if (normed) read(first + q, item.n, pixel, dz_pack, y_pack);
      if (dy) dy_pack = load_cs<Values>(dy.at(item.n, pixel));
      if (to.skip) skip_pack = load_cs<Values>(to.skip.at(item.n, pixel));
      A d[K::kLanes];
#pragma unroll
      for (int v = 0; v < K::kLanes; ++v) d[v] = dy_pack.get(v);
      if (normed) add_norm_grad(table, thread.lane, a.norm.relu, training, dz_pack, y_pack, d);
#pragma unroll
      for (int v = 0; v < K::kLanes; ++v) {
        sums[K::channel_of(v)].value += skip_pack.get(v) * d[v];
        if constexpr (K::kUpsample2x) low[K::low_of(v)] += d[v];
      }
      Values pack;
      pack.set(d);
      to.branch.write(item.n, pixel, pack);
      if (to.dskip) {
#pragma unroll
        for (int v = 0; v < K::kLanes; v += K::kGroup) {
          A alpha[K::kGroupChannels];
          table.read(kAlpha, thread.lane, v, alpha);
#pragma unroll
          for (int i = 0; i < K::kGroup; ++i) d[v + i] *= alpha[K::channel_of(i)];
        }
        pack.set(d);
        store_cs(to.dskip.at(item.n, pixel), pack);
      }
    }
    if constexpr (K::kUpsample2x) {
      if (to.dlow) {
        typename K::LowValues pack;
        pack.set(low);
        store_cs(to.dlow.at(item.n, item.low), pack);
      }
    }
  }
}

// What the sums of a channel give: the gradients of weight and bias, and the terms for the map.
template <class A>
__device__ void write_norm_gradients(const Backward& a, int64_t channel, const NormSums<A>& total,
                                     NormGradTerms<A>* terms) {
  const A var = channel_value<A>(a.var, channel, A(1)), eps = A(a.norm.eps);
  const A count = A(a.dims.n * plane_of(a.dims));
  set_channel_value(a.dbias, channel, total.g);
  set_channel_value(a.dweight, channel, total.gy * reciprocal_std(var, eps));
  trace_write(terms + channel, sizeof(NormGradTerms<A>));
  terms[channel] = {total.g / count, total.gy / (count * (var + eps))};
}

template <class A>
__device__ void write_gate_gradient(const Backward& a, int64_t channel, const GateSum<A>& total) {
  if (channel < a.source.skip_channels) set_channel_value(a.dalpha, channel, total.value);
}

template <class A>
__device__ void finish_norm_sums(const Backward& a, int splits, const NormSums<A>* partials,
                                 NormGradTerms<A>* terms, int64_t first, int64_t end) {
  finish(partials, splits, a.dims.c, first, end, reinterpret_cast<NormSums<A>*>(shared_memory()),
         [&](int64_t channel, const NormSums<A>& total) {
           write_norm_gradients(a, channel, total, terms);
         });
}

template <class A>
__device__ void finish_gate_sums(const Backward& a, int splits, const GateSum<A>* partials,
                                 int64_t first) {
  finish(partials, splits, a.dims.c, first, a.source.skip_channels,
         reinterpret_cast<GateSum<A>*>(shared_memory()),
         [&](int64_t channel, const GateSum<A>& total) { write_gate_gradient(a, channel, total); });
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_reduce(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                    NormSums<typename K::A>* partials) {
  const int group = blockIdx.x % cut.groups, split = blockIdx.x / cut.groups;
  NormSums<typename K::A> sums[K::kChannels] = {};
  backward_reduce_chunk<K>(a, cut, group, split, sums, KeepNothing{});
  write_partials<K>(a.dims, cut, group, split, sums, partials);
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    backward_finish_norm(const __grid_constant__ Backward a, int splits,
                         const NormSums<A>* partials, NormGradTerms<A>* terms) {
  finish_norm_sums(a, splits, partials, terms, int64_t(blockIdx.x) * kFinishLanes, a.dims.c);
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    backward_finish_gate(const __grid_constant__ Backward a, int splits,
                         const GateSum<A>* partials) {
  finish_gate_sums(a, splits, partials, int64_t(blockIdx.x) * kFinishLanes);
}

// The gradients of one chunk by one block, and its partial sums for alpha where they are wanted.
template <class K>
__device__ void backward_map_block(const Backward& a, const WorkSplit& cut, int group, int split,
                                   bool training,
                                   const NormGradTerms<typename K::A>* terms,
                                   GateSum<typename K::A>* partials) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  const ReadMemory<K> read{input<K>(a.dz, a.dims, thread),
                           input<K>(a.y, a.dims, thread)};
  GateSum<typename K::A> sums[K::kChannels] = {};
  backward_map_chunk<K>(a, cut, group, split, training, terms, sums, read);
  if (a.dalpha.given) write_partials<K>(a.dims, cut, group, split, sums, partials);
}

// Blocks run backwards, as in forward_map.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_map(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                 const NormGradTerms<typename K::A>* terms, GateSum<typename K::A>* partials) {
  const int work = gridDim.x - 1 - blockIdx.x;
  backward_map_block<K>(a, cut, work % cut.groups, work / cut.groups, a.norm.training, terms,
                        partials);
}

}  // namespace softgate::cuda
