// The constants of a block's channels. Contiguous, a block has one channel, of which one thread
// asks memory for the constants and all hold them in registers. In channels_last a thread has up to eight channels: held in registers, their
// constants alone would take half of what it may have, and registers are what keeps loads in flight. They
// lie in shared memory and are read by 16 bytes, for four channels at a time.
//
// The loads of a channel are issued before the first of them is used. One after the other, with a store
// to shared memory between, which might be to the same place, they would take five trips to memory
// (2.5 us) before the first pack is asked for; a block lives for 10 or 20.
#pragma once

#include "tile.cuh"

#include "../math.h"

namespace softgate::cuda {

enum TableRow { kAlpha, kMean, kScale, kBias, kMeanG, kSlope, kTableRows };

// What batch statistics take from the gradient of a channel: see norm_grad in math.h.
template <class A>
struct NormGradTerms {
  A mean_g, slope;
};

// A place in shared memory, as the number that a load takes. As a pointer it would be worked out again, from a
// special register, for every pack.
#ifdef SOFTGATE_EMULATOR
using SharedPlace = const char*;
inline SharedPlace shared_place(const void* place) { return static_cast<const char*>(place); }
inline const void* shared_pointer(SharedPlace place) { return place; }
#else
using SharedPlace = unsigned;
__device__ __forceinline__ SharedPlace shared_place(const void* place) {
  SharedPlace number = static_cast<unsigned>(__cvta_generic_to_shared(place));
  keep_as_it_is(number);
  return number;
}
__device__ __forceinline__ const void* shared_pointer(SharedPlace place) {
  return __cvta_shared_to_generic(place);
}
#endif

template <class A>
struct ChannelConstants {
  A row[kTableRows];

  // Rows that the call does not need are zero.
  __device__ ChannelConstants(int64_t channel, const Source* source, const Norm* norm, const void* means,
                              const void* vars, const NormGradTerms<A>* terms) {
    const bool gated = source != nullptr && channel < source->skip_channels;
    const bool normed = norm != nullptr;
    const A alpha = gated ? channel_value<A>(source->alpha, source->alpha_shared ? 0 : channel, A(1)) : A(0);
    const A mean = channel_value<A>(In{means, normed}, channel, A(0));
    const A var = channel_value<A>(In{vars, normed}, channel, A(1));
    const A weight = normed ? channel_value<A>(norm->weight, channel, A(1)) : A(0);
    const A bias = normed ? channel_value<A>(norm->bias, channel, A(0)) : A(0);
    const A* term = reinterpret_cast<const A*>(terms);
    const A mean_g = channel_value<A>(In{term, term != nullptr}, 2 * channel, A(0));
    const A slope = channel_value<A>(In{term, term != nullptr}, 2 * channel + 1, A(0));
    row[kAlpha] = alpha;
    row[kMean] = mean;
    row[kScale] = normed ? weight * reciprocal_std(var, A(norm->eps)) : A(0);
    row[kBias] = bias;
    row[kMeanG] = mean_g;
    row[kSlope] = slope;
  }
};

template <class K>
class Table {
 public:
  using A = typename K::A;

  // With a barrier before, for whoever used the shared memory last, and one after.
  __device__ Table(const WorkSplit& cut, const ThreadPosition<K>& thread, int group, const Dims& dims,
                   const Source* source, const Norm* norm, const void* means, const void* vars,
                   const NormGradTerms<A>* terms)
      : lane_(shared_place(reinterpret_cast<A*>(shared_memory()) + thread.lane * K::kGroupChannels)) {
    A* const shared = reinterpret_cast<A*>(shared_memory());
    const int width = cut.lanes * K::kChannels;
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      const int64_t channel = int64_t(group) * width + i;
      if (channel >= dims.c) break;
      const ChannelConstants<A> constants(channel, source, norm, means, vars, terms);
      A* const place = shared + i / K::kChannels * K::kGroupChannels + i % K::kGroupChannels;
#pragma unroll
      for (int r = 0; r < kTableRows; ++r) place[at(r, i % K::kChannels)] = constants.row[r];
    }
    __syncthreads();
    if constexpr (!K::kChannelsLast) {
#pragma unroll
      for (int r = 0; r < kTableRows; ++r) mine_[r] = shared[at(r, 0)];
    }
  }

  // Whether a row holds anything but zeros for the channels of the thread.
  __device__ bool any(TableRow row) const {
    A value[K::kChannels];
    read_all(row, value);
    bool found = false;
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) found = found || value[c] != A(0);
    return found;
  }

  // A row for all channels of the thread.
  __device__ void read_all(TableRow row, A (&value)[K::kChannels]) const {
#pragma unroll
    for (int c = 0; c < K::kChannels; c += K::kGroupChannels) {
      A part[K::kGroupChannels];
      read(row, c, part);
#pragma unroll
      for (int i = 0; i < K::kGroupChannels; ++i) value[c + i] = part[i];
    }
  }

  // A row for the channels of values v, v + 1, ... of a pack.
  __device__ void read(TableRow row, int v, A (&value)[K::kGroupChannels]) const {
    if constexpr (!K::kChannelsLast) {
      value[0] = mine_[row];
      return;
    }
    constexpr int kBytes = K::kGroupChannels * sizeof(A);
    constexpr int kWide = kBytes % kPackBytes == 0 ? kPackBytes / sizeof(A) : 1;
    const A* lane = static_cast<const A*>(shared_pointer(lane_));
#pragma unroll
    for (int c = 0; c < K::kGroupChannels; c += kWide) {
      const auto pack = *reinterpret_cast<const Pack<A, kWide>*>(lane + at(row, v) + c);
#pragma unroll
      for (int i = 0; i < kWide; ++i) value[c + i] = pack.unit[i];
    }
  }

 private:
  // Rows by groups of channels by lanes, as if there were always kMaxLanes of them: then where a row lies is a
  // constant in the instruction that reads it, and lanes that read together read side by side.
  static __device__ constexpr int at(int row, int channel) {
    return (row * K::kChannels + channel / K::kGroupChannels * K::kGroupChannels) * kMaxLanes;
  }

  SharedPlace lane_;
  A mine_[K::kChannelsLast ? 1 : kTableRows];  // contiguous
};

}  // namespace softgate::cuda
