// Sums and moments over a channel: of a thread, of a thread block, and of all splits. They are merged in a fixed
// order, without atomics, so the same input gives the same bits.
//
// S is a type with `S merged(const S&) const`: Moments of math.h, or one of the sums below. Every merge starts with a
// barrier, because other threads may still read the shared memory.
#pragma once

#include <cstring>
#include <limits>

#include "tile.cuh"

#include "../math.h"

namespace softgate::cuda {

// The sums over a channel that the gradient of batch_norm needs: the sum of g, which is the gradient of the input
// of the ReLU, and the sum of g * (y - mean).
template <class A>
struct NormSums {
  A g, gy;
  __device__ NormSums merged(const NormSums& other) const { return {g + other.g, gy + other.gy}; }
};

// The gradient of alpha: the sum over a channel of skip times the gradient of y.
template <class A>
struct GateSum {
  A value;
  __device__ GateSum merged(const GateSum& other) const { return {value + other.value}; }
};

constexpr int kWarp = 32;

// __shfl_xor_sync for a struct, one 32-bit word at a time.
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

// Merges the values of a warp in registers; every thread gets the result.
template <class S>
__device__ S merge_warp(S value) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = value.merged(shuffle_xor(value, mask));
  return value;
}

// The shared memory that merge_rows needs, in bytes.
template <class S>
constexpr size_t merge_bytes(int channels, int threads) {
  return sizeof(S) * channels * threads;
}

// Merges the values of all rows of a thread block, separately for each lane and each of its kCount channels. The
// threads of row 0 get the result. In the contiguous layout (one lane, one channel) each warp first merges in
// registers, and shared memory has one value for each warp. Otherwise the rows are merged by a tree in shared
// memory, laid out as [channel][row][lane], so that neighbouring threads access neighbouring values.
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

// The sums of a thread over the values of its channels, from which the moments are computed at the end. The sums
// are of value - shift, where shift is the first value of the thread in the channel. This takes a subtraction, an
// addition and an FMA for each value, and no division. The shift avoids the cancellation of sum(x^2) - count *
// mean^2 for a large mean. What still cancels is count times the squared deviation of the first value from the
// mean. The result contains this square once, so the relative error is of the order of count * eps.
template <class K>
class ChannelSums {
 public:
  using A = typename K::A;

  // Called with the first pack of every step. Sets the shift if no value was added yet.
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
      // If finite values are too large to be squared, the variance must be infinite, and not NaN from infinity minus
      // infinity. If a value is infinite, the variance is NaN, because sum - sum is.
      const A infinite = sum_[c] - sum_[c];
      const A m2 = squares_[c] > kLargest<A> ? squares_[c] + infinite : squares_[c] - sum_[c] * mean;
      moments[c] = {count, shift_[c] + mean, m2 < A(0) ? A(0) : m2};
    }
  }

 private:
  int values_ = 0;
  A shift_[K::kChannels] = {}, sum_[K::kChannels] = {}, squares_[K::kChannels] = {};
};

// Merges the values of a thread block and stores them as the partial results of its split. Partial results are
// laid out as [split][channel].
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

constexpr int kFinishLanes = 8;  // channels of a thread block in `finish`: 96 consecutive bytes of Moments<float>

// Merges the partial results of all splits for the kFinishLanes channels from `first` on. A thread merges every
// rows-th split in order, and then the rows are merged. All threads of the thread block must call this. Returns
// true in the threads that get the total of a channel before `end`; the channel is finished_channel(first).
//
// A pass of 1056 thread blocks leaves up to 33 partial results for each thread. Loading each after merging the one
// before would take 33 times the latency of memory. A thread therefore loads eight at once, and merges them in
// order.
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
