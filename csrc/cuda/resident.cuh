// The resident variant: one launch in which every tensor is read or written once. A cluster of thread blocks (one
// thread block before sm_90) has all values of a group of channels, keeps them in shared memory between the two
// looks, and merges its sums through distributed shared memory. No grid barrier is needed.
//
// A group is one channel in the contiguous layout, and four packs (64 bytes of each pixel, two sectors) in
// channels_last: the narrowest group that reads whole sectors, so that as many pixels as possible fit. Clusters
// are independent of each other. If two thread blocks fit on a multiprocessor, one loads while the other waits for
// its cluster.
#pragma once

#include "backward.cuh"

namespace softgate::cuda {

// Merges the values of a group over the rows of a thread block, and stores them in its shared memory, one for each
// channel of the group. After the cluster barrier the other thread blocks of the cluster may read them.
template <class K, class S>
__device__ void share_with_cluster(const WorkSplit& cut, const ThreadPosition<K>& thread, S (&value)[K::kChannels]) {
  S* shared = reinterpret_cast<S*>(shared_memory());
  merge_rows(value, cut.lanes, cut.rows, thread.lane, thread.row, shared);
  __syncthreads();
  if (thread.row == 0) {
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) shared[thread.lane * K::kChannels + c] = value[c];
  }
  cluster_sync();
}

// The total of channel i of the group, merged over the thread blocks of the cluster in the order of their ranks.
template <class S>
__device__ S total_of_cluster(const WorkSplit& cut, int i) {
  S* mine = reinterpret_cast<S*>(shared_memory()) + i;
  S total = *mine;
  for (int peer = 1; peer < cut.splits; ++peer) total = total.merged(*cluster_peer(mine, peer));
  return total;
}

// The number of channels of the group that a thread block finishes: all of them in the first thread block of the
// cluster (rank 0), none in the others.
template <class K>
__device__ int channels_to_finish(const Dims& dims, const WorkSplit& cut, int group, int rank) {
  const int width = cut.lanes * K::kChannels;
  const int64_t left = dims.c - int64_t(group) * width;
  return rank > 0 ? 0 : left < width ? static_cast<int>(left) : width;
}

// Reads skip and branch and writes y and z: 4 elements for each element of y. y of the group stays in shared memory.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_resident(const __grid_constant__ Forward a, const __grid_constant__ WorkSplit cut,
                     int keep_offset) {
  using A = typename K::A;
  const int group = blockIdx.x / cut.splits, rank = blockIdx.x % cut.splits;
  const ThreadPosition<K> thread(a.dims, cut, group, rank);
  const Kept<K, 1> kept(keep_offset);
  Moments<A> moments[K::kChannels] = {};
  forward_reduce_chunk<false>(a, cut, thread, group, moments, kept);
  share_with_cluster(cut, thread, moments);
  const int64_t first = int64_t(group) * cut.lanes * K::kChannels;
  for (int i = threadIdx.x; i < channels_to_finish<K>(a.dims, cut, group, rank); i += blockDim.x) {
    write_statistics(a, first + i, total_of_cluster<Moments<A>>(cut, i));
  }
  cluster_sync();  // the statistics are visible now; no thread block ends before rank 0 has read its sums
  const Table<K> table(cut, thread, group, a.dims, nullptr, &a.norm, a.mean.data, a.var.data, nullptr);
  const Output<K> z = output<K>(a.z, a.dims, thread);
  ItemIterator<K> items(cut, thread);
  int number = 0;
#pragma unroll 1
  while (thread.active && items.left > 0) {
#pragma unroll
    for (int q = 0; q < K::kPacks; ++q) {
      forget_registers();
      store_cs(z.at(items.pack(q)), normalise(kept.get(number++, 0), table, a.norm.relu));
    }
    items.step();
  }
}

// Reads dz, y, dy and skip and writes dskip and the gradients of the branches: 6 elements for each element of y.
// dz and y of the group stay in shared memory.
template <class K>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    backward_resident(const __grid_constant__ Backward a, const __grid_constant__ WorkSplit cut,
                      int keep_offset, NormGradTerms<typename K::A>* terms) {
  using A = typename K::A;
  const int group = blockIdx.x / cut.splits, rank = blockIdx.x % cut.splits;
  const ThreadPosition<K> thread(a.dims, cut, group, rank);
  const Kept<K, 2> kept(keep_offset);
  NormSums<A> sums[K::kChannels] = {};
  backward_reduce_chunk(a, cut, thread, group, sums, kept);
  share_with_cluster(cut, thread, sums);
  const int64_t first = int64_t(group) * cut.lanes * K::kChannels;
  for (int i = threadIdx.x; i < channels_to_finish<K>(a.dims, cut, group, rank); i += blockDim.x) {
    write_norm_gradients(a, first + i, total_of_cluster<NormSums<A>>(cut, i), terms);
  }
  cluster_sync();
  GateSum<A> gate[K::kChannels] = {};
  backward_map_chunk(a, cut, thread, group, true, terms, gate, kept);
  if (!a.dalpha.given) return;
  share_with_cluster(cut, thread, gate);
  for (int i = threadIdx.x; i < channels_to_finish<K>(a.dims, cut, group, rank); i += blockDim.x) {
    write_gate_gradient(a, first + i, total_of_cluster<GateSum<A>>(cut, i));
  }
  cluster_sync();
}

}  // namespace softgate::cuda
