// The backward. From d = dy + batch_norm'(relu'(dz)), the complete gradient of y, follow dskip = alpha * d, the
// gradients of the branches, which are slices of d in tensors of their own, and the gradient of low: each value is
// the sum of its four children in d, which the same thread has.
//
// In training there are two passes. backward_reduce computes the two sums that batch statistics need; backward_map
// computes the gradients. The ReLU mask is computed from y again, so no mask is stored. The comment of each kernel
// gives the elements that it moves from and to global memory for each element of y, if all gradients are required;
// an element has 2, 4 or 8 bytes. The work is divided as in the forward.
#pragma once

#include "forward.cuh"

namespace softgate::cuda {

// For kGroup values of a pack, from `first` on: the gradient g of the input of the ReLU, the deviation of y from
// the mean, and the scale of the norm.
template <class K>
struct ReluGrad {
  using A = typename K::A;
  A g[K::kGroup], deviation[K::kGroup], scale[K::kGroupChannels];

  __device__ ReluGrad(const Table<K>& table, bool with_relu, int first,
                    const typename K::Values& dz, const typename K::Values& y) {
    A mean[K::kGroupChannels], bias[K::kGroupChannels];
    table.read(kMean, first, mean);
    table.read(kScale, first, scale);
    table.read(kBias, first, bias);
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

// Adds one pack of dz and y to the sums of a thread.
template <class K>
__device__ void add_norm_sums(const Table<K>& table, bool with_relu, const typename K::Values& dz,
                              const typename K::Values& y, NormSums<typename K::A> (&sums)[K::kChannels]) {
  forget_registers();
#pragma unroll
  for (int v = 0; v < K::kLanes; v += K::kGroup) {
    const ReluGrad<K> at(table, with_relu, v, dz, y);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) {
      const int c = K::channel_of(v + i);
      sums[c].g += at.g[i];
      sums[c].gy += at.g[i] * at.deviation[i];
    }
  }
}

// Sums over the values of this thread in a chunk. A thread has two packs of dz and two of y in flight (64 bytes),
// or all packs of an item if it has several. The loads leave dz and y in L2, because backward_map reads them
// again.
template <class K, class Keep>
__device__ void backward_reduce_chunk(const Backward& a, const WorkSplit& cut, const ThreadPosition<K>& thread,
                                      int group, NormSums<typename K::A> (&sums)[K::kChannels], const Keep& kept) {
  using Step = Step<K, K::kPacks == 1 ? 2 : K::kPacks>;
  const Table<K> table(cut, thread, group, a.dims, nullptr, &a.norm, a.mean.data, a.var.data, nullptr);
  if (!thread.active) return;
  const Input<K> dz = input<K>(a.dz, a.dims, thread);
  const Input<K> y = input<K>(a.y, a.dims, thread);
  ItemIterator<K> items(cut, thread);
#pragma unroll 1
  for (int number = 0; items.left > 0; number += Step::kPacks) {
    const Step step(items, 0);
    typename K::Values dz_pack[Step::kPacks], y_pack[Step::kPacks];
#pragma unroll
    for (int p = 0; p < Step::kPacks; ++p) {
      if (!step.has(p)) continue;
      dz_pack[p] = load<typename K::Values>(dz.at(step.pack[p]));
      y_pack[p] = load<typename K::Values>(y.at(step.pack[p]));
    }
#pragma unroll
    for (int p = 0; p < Step::kPacks; ++p) {
      if (!step.has(p)) continue;
      kept.put(number + p, 0, dz_pack[p]);
      kept.put(number + p, 1, y_pack[p]);
      add_norm_sums(table, a.norm.relu, dz_pack[p], y_pack[p], sums);
    }
  }
}

// Stores the sums of a chunk as the partial results of the split.
template <class K>
__device__ void backward_reduce_block(const Backward& a, const WorkSplit& cut, int group, int split,
                                      NormSums<typename K::A>* partials) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  NormSums<typename K::A> sums[K::kChannels] = {};
  backward_reduce_chunk(a, cut, thread, group, sums, Kept<K, 0>());
  write_partials<K>(a.dims, cut, thread, split, sums, partials);
}

// Adds the gradient of batch_norm for one pack to d. In evaluation the slope is zero and its term must be left out,
// because an infinite y times zero would be NaN.
template <class K>
__device__ void add_norm_grad(const Table<K>& table, bool with_relu, bool training,
                              const typename K::Values& dz, const typename K::Values& y,
                              typename K::A (&d)[K::kLanes]) {
  using A = typename K::A;
#pragma unroll
  for (int v = 0; v < K::kLanes; v += K::kGroup) {
    forget_registers();
    const ReluGrad<K> at(table, with_relu, v, dz, y);
    A mean_g[K::kGroupChannels], slope[K::kGroupChannels];
    table.read(kMeanG, v, mean_g);
    table.read(kSlope, v, slope);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) {
      const int c = K::channel_of(i);
      A centred = at.g[i] - mean_g[c];
      if (training) centred -= at.deviation[i] * slope[c];
      d[v + i] += at.scale[c] * centred;
    }
  }
}

// Processes one pack: adds its part to the sums for alpha and to the gradient of low, and stores the other
// gradients. In the sliced and resident kernels `training` is a compile-time constant, because they have no
// register to spare.
template <class K>
__device__ void write_gradients(const Sinks<K>& to, const PackOffset<K>& at, const Table<K>& table,
                                bool normed, bool with_relu, bool training, const typename K::Values& dz,
                                const typename K::Values& y, const typename K::Values& dy,
                                const typename K::Values& skip, typename K::A (&low)[K::kLowLanes],
                                GateSum<typename K::A> (&sums)[K::kChannels]) {
  using A = typename K::A;
  A d[K::kLanes];
#pragma unroll
  for (int v = 0; v < K::kLanes; ++v) d[v] = dy.get(v);
  if (normed) add_norm_grad(table, with_relu, training, dz, y, d);
#pragma unroll
  for (int v = 0; v < K::kLanes; ++v) {
    sums[K::channel_of(v)].value += skip.get(v) * d[v];
    if constexpr (K::kUpsample2x) low[K::low_of(v)] += d[v];
  }
  typename K::Values pack;
  pack.set(d);
  to.branch.write(at, pack);
  if (!to.dskip) return;
#pragma unroll
  for (int v = 0; v < K::kLanes; v += K::kGroup) {
    A alpha[K::kGroupChannels];
    table.read(kAlpha, v, alpha);
#pragma unroll
    for (int i = 0; i < K::kGroup; ++i) d[v + i] *= alpha[K::channel_of(i)];
  }
  pack.set(d);
  store_cs(to.dskip.at(at), pack);
}

// Stores the gradients of a chunk and adds skip * d to the sums for alpha. A thread has one pack of each of four
// tensors in flight (64 bytes). More packs would take so many registers that fewer thread blocks would fit on a
// multiprocessor.
template <class K, class Keep>
__device__ void backward_map_chunk(const Backward& a, const WorkSplit& cut, const ThreadPosition<K>& thread, int group,
                                   bool training, const NormGradTerms<typename K::A>* terms,
                                   GateSum<typename K::A> (&sums)[K::kChannels], const Keep& kept) {
  using A = typename K::A;
  using Values = typename K::Values;
  const bool normed = a.dz.given;
  const Table<K> table(cut, thread, group, a.dims, &a.source, normed ? &a.norm : nullptr, a.mean.data, a.var.data,
                       terms);
  if (!thread.active) return;
  const Sinks<K> to(a, thread);
  const Input<K> dz = input<K>(a.dz, a.dims, thread);
  const Input<K> y = input<K>(a.y, a.dims, thread);
  const Input<K> dy = input<K>(a.dy, a.dims, thread);
  ItemIterator<K> items(cut, thread);
#pragma unroll 1
  for (int number = 0; items.left > 0; number += K::kPacks) {
    A low[K::kLowLanes] = {};
#pragma unroll 1
    for (int q = 0; q < K::kPacks; ++q) {
      forget_registers();
      const PackOffset<K> at = items.pack(q);
      Values dz_pack, y_pack, dy_pack{}, skip_pack{};
      if constexpr (Keep::kTensors > 0) {
        dz_pack = kept.get(number + q, 0);
        y_pack = kept.get(number + q, 1);
      } else if (normed) {
        dz_pack = load_cs<Values>(dz.at(at));
        y_pack = load_cs<Values>(y.at(at));
      }
      if (dy) dy_pack = load_cs<Values>(dy.at(at));
      if (to.skip) skip_pack = load_cs<Values>(to.skip.at(at));
      write_gradients(to, at, table, normed, a.norm.relu, training, dz_pack, y_pack, dy_pack, skip_pack, low, sums);
    }
    to.write_low(items.low(), low);
    items.step();
  }
}

// Stores the gradients of a chunk, and its partial sums for alpha if the call has dalpha.
template <class K>
__device__ void backward_map_block(const Backward& a, const WorkSplit& cut, int group, int split, bool training,
                                   const NormGradTerms<typename K::A>* terms, GateSum<typename K::A>* partials) {
  const ThreadPosition<K> thread(a.dims, cut, group, split);
  GateSum<typename K::A> sums[K::kChannels] = {};
  backward_map_chunk(a, cut, thread, group, training, terms, sums, Kept<K, 0>());
  if (a.dalpha.given) write_partials<K>(a.dims, cut, thread, split, sums, partials);
}

// Stores the results of the sums of a channel: the gradients of weight and bias, and the terms for backward_map.
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

// Merge the partial results of kFinishLanes channels and store what follows from their sums.
template <class A>
__device__ void finish_norm_sums(const Backward& a, int splits, const NormSums<A>* partials,
                                 NormGradTerms<A>* terms, int64_t first, int64_t end) {
  NormSums<A> total;
  if (finish(partials, splits, a.dims.c, first, end, total)) {
    write_norm_gradients(a, finished_channel(first), total, terms);
  }
}

template <class A>
__device__ void finish_gate_sums(const Backward& a, int splits, const GateSum<A>* partials,
                                 int64_t first) {
  GateSum<A> total;
  if (finish(partials, splits, a.dims.c, first, a.source.skip_channels, total)) {
    write_gate_gradient(a, finished_channel(first), total);
  }
}

// The first pass in training. Reads dz and y: 2 elements for each element of y. The same tile as forward_reduce.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_reduce(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                    NormSums<typename K::A>* partials) {
  backward_reduce_block<K>(a, cut, blockIdx.x % cut.groups, blockIdx.x / cut.groups, partials);
}

// Merges the partial sums for the norm: reads 2 accumulators for each channel and split. The same tile as
// forward_finish.
template <class A>
__global__ void __launch_bounds__(kThreads)
    backward_finish_norm(const __grid_constant__ Backward a, int splits,
                         const NormSums<A>* partials, NormGradTerms<A>* terms) {
  finish_norm_sums(a, splits, partials, terms, int64_t(blockIdx.x) * kFinishLanes, a.dims.c);
}

// Merges the partial sums for alpha: reads 1 accumulator for each channel of the skip and split.
template <class A>
__global__ void __launch_bounds__(kThreads)
    backward_finish_gate(const __grid_constant__ Backward a, int splits,
                         const GateSum<A>* partials) {
  finish_gate_sums(a, splits, partials, int64_t(blockIdx.x) * kFinishLanes);
}

// The second pass in training, and the only one if no sums are needed. Reads dz, y, dy and skip and writes dskip
// and the gradients of the branches: 6 elements for each element of y, of which dz and y come partly from L2. The
// thread blocks process the chunks in reverse order, as in forward_normalise.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_map(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                 const NormGradTerms<typename K::A>* terms, GateSum<typename K::A>* partials) {
  const int work = gridDim.x - 1 - blockIdx.x;
  backward_map_block<K>(a, cut, work % cut.groups, work / cut.groups, a.norm.training, terms,
                        partials);
}

}  // namespace softgate::cuda
