// Sums and moments merged across a block in a fixed tree: the same input gives the same bits.
//
// S is anything with `S merged(const S&) const`: Moments of math.h, or the sums below. Every merge starts with
// a barrier, because the shared memory may still be read by whoever used it last.
#pragma once

#include <cstring>
#include <limits>

#include "tile.cuh"

#include "../math.h"

namespace softgate::cuda {

// What backward sums over a channel for batch statistics: the gradient behind the ReLU, and the same
// times (y - mean).
template <class A>
struct NormSums {
  A g, gy;
  __device__ NormSums merged(const NormSums& other) const { return {g + other.g, gy + other.gy}; }
};

// And for alpha: skip times the gradient of y.
template <class A>
struct GateSum {
  A value;
  __device__ GateSum merged(const GateSum& other) const { return {value + other.value}; }
};

constexpr int kWarp = 32;

template <class S>
__device__ S shuffle_xor(const S& value, int mask) {
  constexpr int kWords = sizeof(S) / sizeof(unsigned);
  unsigned word[kWords];
  memcpy(word, &value, sizeof(S));
#pragma unroll
  for (int i = 0; i < kWords; ++i) word[i] = __shfl_xor_sync(0xffffffffu, word[i], mask);
  S other;
  memcpy(&other, word, sizeof(S));
  return other;
}

template <class S>
__device__ S merge_warp(S value) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = value.merged(shuffle_xor(value, mask));
  return value;
}

// Bytes of shared memory that merge_rows needs.
template <class S>
constexpr size_t merge_bytes(int channels, int threads) {
  return sizeof(S) * channels * threads;
}

// Merges the values of all rows of a block, lane by lane; the threads of row 0 hold the result.
// Contiguous: one lane, whole warps, so the first five levels go through registers.
template <int kCount, class S>
__device__ void merge_rows(S (&value)[kCount], int lanes, int rows, int lane, int row, S* shared) {
  if (lanes == 1 && kCount == 1 && rows % kWarp == 0) {
    const int warps = rows / kWarp;
    value[0] = merge_warp(value[0]);
    __syncthreads();
    if (row % kWarp == 0) shared[row / kWarp] = value[0];
    __syncthreads();
    if (row < kWarp) value[0] = merge_warp(row < warps ? shared[row] : S{});
    return;
  }
  const int stride = lanes * rows;
  const int at = row * lanes + lane;
  __syncthreads();
#pragma unroll
  for (int c = 0; c < kCount; ++c) shared[c * stride + at] = value[c];
  int half = 1;
  while (half * 2 < rows) half *= 2;
  for (; rows > 1 && half > 0; half /= 2) {
    __syncthreads();
    if (row < half && row + half < rows) {
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        value[c] = value[c].merged(shared[c * stride + at + half * lanes]);
        shared[c * stride + at] = value[c];
      }
    }
  }
}

template <class A>
constexpr A kLargest = std::numeric_limits<A>::max();

// What a thread knows of the values of a channel: how far they are from the first of them. That takes
// a subtraction, an addition and an fma a value, and no division. What cancels in the end is at most
// the first value's own deviation, which is one of the squares: the error is of the order of count * eps.
template <class K>
class ChannelSums {
 public:
  using A = typename K::A;

  // The first pack of a step, which may be the thread's first.
  __device__ void shift_to(const typename K::Values& pack) {
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) shift_[c] = values_ == 0 ? pack.get(c) : shift_[c];
  }

  __device__ void add(const typename K::Values& pack) {
    values_ += K::kLanes / K::kChannels;
#pragma unroll
    for (int v = 0; v < K::kLanes; ++v) {
      const int c = K::channel_of(v);
      const A away = pack.get(v) - shift_[c];
      sum_[c] += away;
      squares_[c] += away * away;
    }
  }

  __device__ void moments(Moments<A> (&moments)[K::kChannels]) const {
    const A count = A(values_), share = values_ == 0 ? A(0) : A(1) / count;
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) {
      const A mean = sum_[c] * share;
      // Of finite values too large to be squared the variance is infinite, not infinity minus infinity; of infinite
      // ones it is NaN, as the difference of two infinities is.
      const A infinite = sum_[c] - sum_[c];
      const A m2 = squares_[c] > kLargest<A> ? squares_[c] + infinite : squares_[c] - sum_[c] * mean;
      moments[c] = {count, shift_[c] + mean, m2 < A(0) ? A(0) : m2};
    }
  }

 private:
  int values_ = 0;
  A shift_[K::kChannels] = {}, sum_[K::kChannels] = {}, squares_[K::kChannels] = {};
};

// Puts down the merged values of a block's channels as the partial results of one split.
template <class K, class S>
__device__ void write_partials(const Dims& dims, const WorkSplit& cut, const ThreadPosition<K>& thread, int split,
                               S (&value)[K::kChannels], S* partials) {
  merge_rows(value, cut.lanes, cut.rows, thread.lane, thread.row,
             reinterpret_cast<S*>(shared_memory()));
  if (thread.row == 0 && thread.active) {
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) {
      S* out = partials + split * dims.c + thread.channel + c;
      trace_write(out, sizeof(S));
      *out = value[c];
    }
  }
}

constexpr int kFinishLanes = 8;  // channels that a block finishes: 96 bytes side by side

// Merges the partial results of all splits for kFinishLanes channels from `first`, one after the other in a thread
// and then by rows. Called by whole blocks. True in the thread that holds the total of a channel before `end`,
// which is finished_channel(first).
//
// A pass of 1056 blocks leaves up to 33 partial results for each thread: loaded one by one as they are merged, that
// would be 33 trips to memory. Eight are in flight, and merged in the order in which they would have come.
template <class S>
__device__ bool finish(const S* partials, int splits, int64_t channels, int64_t first, int64_t end, S& total) {
  constexpr int kInFlight = 8;
  const int rows = blockDim.x / kFinishLanes;
  const int lane = threadIdx.x % kFinishLanes;
  const int row = threadIdx.x / kFinishLanes;
  const int64_t channel = first + lane;
  const bool there = channel < end && row < rows;
  S sum[1] = {};
#pragma unroll 1
  for (int split = row; there && split < splits; split += kInFlight * rows) {
    S part[kInFlight];
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      if (split + i * rows >= splits) continue;
      const S* place = partials + (split + i * rows) * channels + channel;
      trace_read(place, sizeof(S));
      part[i] = *place;
    }
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      if (split + i * rows < splits) sum[0] = sum[0].merged(part[i]);
    }
  }
  merge_rows(sum, kFinishLanes, rows, lane, row, reinterpret_cast<S*>(shared_memory()));
  total = sum[0];
  return there && row == 0;
}

__device__ inline int64_t finished_channel(int64_t first) { return first + threadIdx.x % kFinishLanes; }

}  // namespace softgate::cuda
