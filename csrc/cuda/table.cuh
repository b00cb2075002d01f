// The constants of a block's channels, in shared memory. In channels_last a thread has up to eight
// channels: held in registers, their constants alone would take half of what it may have, and
// registers are what keeps loads in flight. They are read by 16 bytes, for four channels at a time.
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

template <class K>
class Table {
 public:
  using A = typename K::A;

  // Fills the rows that the call needs. A barrier before, for whoever used this memory last, and one
  // after.
  __device__ Table(const WorkSplit& cut, int group, const Dims& dims, const Source* source,
                   const Norm* norm, const void* means, const void* vars, const NormGradTerms<A>* terms)
      : width_(cut.lanes * K::kChannels), rows_(reinterpret_cast<A*>(shared_memory())) {
    __syncthreads();
    for (int i = threadIdx.x; i < width_; i += blockDim.x) {
      const int64_t channel = int64_t(group) * width_ + i;
      if (channel >= dims.c) break;
      if (source != nullptr && channel < source->skip_channels) {
        at(kAlpha, i) = channel_value<A>(source->alpha, source->alpha_shared ? 0 : channel, A(1));
      } else {
        at(kAlpha, i) = A(0);
      }
      if (norm == nullptr) continue;
      at(kMean, i) = channel_value<A>(In{means, true}, channel, A(0));
      at(kScale, i) = channel_value<A>(norm->weight, channel, A(1)) *
                      reciprocal_std(channel_value<A>(In{vars, true}, channel, A(1)), A(norm->eps));
      at(kBias, i) = channel_value<A>(norm->bias, channel, A(0));
      if (terms != nullptr) trace_read(terms + channel, sizeof(NormGradTerms<A>));
      at(kMeanG, i) = terms == nullptr ? A(0) : terms[channel].mean_g;
      at(kSlope, i) = terms == nullptr ? A(0) : terms[channel].slope;
    }
    __syncthreads();
  }

  // Whether a row holds anything but zeros for the channels of a lane's pack.
  __device__ bool any(TableRow row, int lane) const {
    const A* place = rows_ + row * width_ + lane * K::kChannels;
    bool found = false;
#pragma unroll
    for (int c = 0; c < K::kChannels; ++c) found = found || place[c] != A(0);
    return found;
  }

  // A row for the channels of values v, v + 1, ... of a lane's pack.
  __device__ void read(TableRow row, int lane, int v, A (&value)[K::kGroupChannels]) const {
    constexpr int kBytes = K::kGroupChannels * sizeof(A);
    constexpr int kWide = kBytes % kPackBytes == 0 ? kPackBytes / sizeof(A) : 1;
    const A* place = rows_ + row * width_ + lane * K::kChannels + K::channel_of(v);
#pragma unroll
    for (int c = 0; c < K::kGroupChannels; c += kWide) {
      const auto pack = *reinterpret_cast<const Pack<A, kWide>*>(place + c);
#pragma unroll
      for (int i = 0; i < kWide; ++i) value[c + i] = pack.unit[i];
    }
  }

 private:
  __device__ A& at(TableRow row, int i) { return rows_[row * width_ + i]; }

  int width_;
  A* rows_;
};

template <class A>
constexpr size_t table_bytes(int channels) {
  return sizeof(A) * kTableRows * channels;
}

// Keeps the compiler from reading a table once and holding it in registers across a loop.
__device__ __forceinline__ void forget_registers() { asm volatile("" ::: "memory"); }

}  // namespace softgate::cuda
