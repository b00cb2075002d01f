// The table of constants (alpha, mean, scale, ...) of the channels of a thread block.
//
// In the contiguous layout a thread block has one channel. One thread loads its constants from global memory, and
// all threads keep them in registers. In channels_last a thread has up to eight channels, whose constants would
// take half of the registers that a thread may have, and registers are needed for loads in flight. The constants
// therefore stay in shared memory, and a thread reads them with 16-byte accesses, for four channels at a time.
//
// All loads of a channel are issued before the first is used. If each value were stored to shared memory before
// the next load, the compiler could not exclude that the two addresses alias and would keep this order. The thread
// block would then wait for five loads one after the other (about 2.5 us) before its first pack, and it runs for
// only 10 to 20 us.
#pragma once

#include "tile.cuh"

#include "../math.h"

namespace softgate::cuda {

// A row has one constant for every channel. kMeanG and kSlope are the NormGradTerms.
enum TableRow { kAlpha, kMean, kScale, kBias, kMeanG, kSlope, kTableRows };

// The two terms that the gradient of batch_norm subtracts in training: see norm_grad in math.h.
template <class A>
struct NormGradTerms {
  A mean_g, slope;
};

// An address in shared memory as a 32-bit number, which a shared-memory access takes. From a generic pointer the
// compiler would compute this number again for every pack.
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

// The constants of one channel, loaded from global memory.
template <class A>
struct ChannelConstants {
  A row[kTableRows];

  // `means` and `vars` are vectors of A. Rows whose argument is null are zero.
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

  // Called by all threads of the thread block. There is a barrier before the table is written, because other
  // threads may still use the shared memory, and one after it.
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

  // Whether a row has a value other than zero for the channels of the thread.
  __device__ bool any(TableRow row) const {
    A value[K::kChannels];
    read_all(row, value);
    bool found = false;
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) found = found || value[c] != A(0);
    return found;
  }

  // Reads a row for all channels of the thread.
  __device__ void read_all(TableRow row, A (&value)[K::kChannels]) const {
#pragma unroll
    for (int c = 0; c < K::kChannels; c += K::kGroupChannels) {
      A part[K::kGroupChannels];
      read(row, c, part);
#pragma unroll
      for (int i = 0; i < K::kGroupChannels; ++i) value[c + i] = part[i];
    }
  }

  // Reads a row for the channels of the values v to v + kGroup - 1 of a pack.
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
  // The layout of the table is [row][group of channels][kMaxLanes lanes][kGroupChannels]. It has space for
  // kMaxLanes lanes even if the thread block has fewer: the offset of a row is then a constant of the instruction.
  // Neighbouring lanes read neighbouring addresses, so there are no bank conflicts.
  static __device__ constexpr int at(int row, int channel) {
    return (row * K::kChannels + channel / K::kGroupChannels * K::kGroupChannels) * kMaxLanes;
  }

  SharedPlace lane_;
  A mine_[K::kChannelsLast ? 1 : kTableRows];  // contiguous layout: the constants of the one channel
};

}  // namespace softgate::cuda
