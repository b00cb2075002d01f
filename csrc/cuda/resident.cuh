// The one-read variant on chip: a cluster of blocks (one block before sm_90) has all values of a
// channel (channels_last: of a few packs of channels) and keeps them in shared memory, so that every
// tensor crosses the memory bus once: 4e forward, 6e backward, in one launch without a grid barrier.
// Clusters are independent; several fit on a processor, and while one waits, another's loads fly.
//
// A thread keeps its own packs and reads them back itself: no barrier, no bank conflict.
#pragma once

#include "backward.cuh"

namespace softgate::cuda {

// The packs a thread keeps, in shared memory past the space for merges and tables.
template <class K>
class Kept {
 public:
  using Values = typename K::Values;
  __device__ Kept(int tensors, size_t offset)
      : packs_(reinterpret_cast<Values*>(shared_memory() + offset)), tensors_(tensors) {}
  __device__ Values& at(int i, int tensor) const {
    return packs_[(i * tensors_ + tensor) * blockDim.x + threadIdx.x];
  }

 private:
  Values* packs_;
  int tensors_;
};

// Merges the values of a group's channels over its cluster, in the order of the blocks; the first
// block hands each total to emit(channel, total), and what that writes every block may read on return.
template <class K, class S, class Emit>
__device__ void finish_cluster(const Dims& dims, const WorkSplit& cut, int group, int rank,
                               S (&value)[K::kChannels], Emit emit) {
  const ThreadPosition<K> thread(dims, cut, group, rank);
  S* shared = reinterpret_cast<S*>(shared_memory());
  merge_rows(value, cut.lanes, cut.rows, thread.lane, thread.row, shared);
  __syncthreads();
  if (thread.row == 0) {
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) shared[thread.lane * K::kChannels + c] = value[c];
  }
  cluster_sync();
  const int width = cut.lanes * K::kChannels;
  for (int i = threadIdx.x; rank == 0 && i < width; i += blockDim.x) {
    const int64_t channel = int64_t(group) * width + i;
    if (channel >= dims.c) break;
    S total = shared[i];
    for (int peer = 1; peer < cut.splits; ++peer) {
      total = total.merged(*cluster_peer(shared + i, peer));
    }
    emit(channel, total);
  }
  cluster_sync();
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_resident(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut,
                     int keep_offset) {
  using A = typename K::A;
  const int group = blockIdx.x / cut.splits, rank = blockIdx.x % cut.splits;
  const Kept<K> kept(1, keep_offset);
  Moments<A> moments[K::kChannels] = {};
  forward_reduce_chunk<K>(a, cut, group, rank, moments,
                          [&](int i, const typename K::Values& y) { kept.at(i, 0) = y; });
  finish_cluster<K>(a.dims, cut, group, rank, moments, [&](int64_t channel, const Moments<A>& m) {
    write_statistics(a, channel, m);
  });
  const Table<K> table(cut, group, a.dims, nullptr, &a.norm, a.mean.data, a.var.data, nullptr);
  const ThreadPosition<K> thread(a.dims, cut, group, rank);
  if (!thread.active) return;
  const Output<K> z = output<K>(a.z, a.dims, thread);
  ItemIterator<K> iterator(a.dims, cut, rank, thread.row);
#pragma unroll 1
  for (int first = 0; iterator.left > 0; first += K::kPacks) {
    forget_registers();
    const ItemOffset<K> item = iterator.next();
#pragma unroll
    for (int q = 0; q < K::kPacks; ++q) {
      store_cs(z.at(item.n, item.first + iterator.offset(q)),
               normalise(kept.at(first + q, 0), table, thread.lane, a.norm.relu));
    }
  }
}

template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_resident(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                      int keep_offset, NormGradTerms<typename K::A>* terms) {
  using A = typename K::A;
  using Values = typename K::Values;
  const int group = blockIdx.x / cut.splits, rank = blockIdx.x % cut.splits;
  const Kept<K> kept(2, keep_offset);
  NormSums<A> sums[K::kChannels] = {};
  backward_reduce_chunk<K>(a, cut, group, rank, sums,
                           [&](int i, const Values& dz, const Values& y) {
                             kept.at(i, 0) = dz;
                             kept.at(i, 1) = y;
                           });
  finish_cluster<K>(a.dims, cut, group, rank, sums, [&](int64_t channel, const NormSums<A>& total) {
    write_norm_gradients(a, channel, total, terms);
  });
  GateSum<A> gate[K::kChannels] = {};
  backward_map_chunk<K>(
      a, cut, group, rank, true, terms, gate,
      [&](int i, int, typename K::Pixel, Values& dz, Values& y) {
        dz = kept.at(i, 0);
        y = kept.at(i, 1);
      });
  if (!a.dalpha.given) return;
  finish_cluster<K>(a.dims, cut, group, rank, gate, [&](int64_t channel, const GateSum<A>& total) {
    write_gate_gradient(a, channel, total);
  });
}

}  // namespace softgate::cuda
