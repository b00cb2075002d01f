// The work of a thread: its channels, which stay the same for the whole kernel, and its items (plan.h), which it
// iterates over without a division. The two layouts and the two shapes of items differ only in the numbers of this
// file, so each kernel is written once.
//
// Address arithmetic is a large part of the main loops: up to six tensors need an address for every pack, and a
// 64-bit product takes four instructions. Offsets within a chunk are therefore 32-bit numbers, which count packs
// from the first sample of the chunk. An address then takes one 32-bit multiplication and one wide multiply-add.
#pragma once

#include "pack.cuh"
#include "plan.h"

namespace softgate::cuda {

// The compile-time properties of a pass: the dtype, the layout (kLast: channels_last), the values of a pack (kWidth),
// and the shape of an item. In channels_last a pack has one pixel of kWidth channels; in the contiguous layout it has
// kWidth pixels of one channel.
template <class T_, bool kLast, int kWidth, bool kUpsample2x_, bool kHalfPacks_ = false>
struct Tiling {
  using T = T_;
  using A = Accumulator<T>;
  static constexpr bool kChannelsLast = kLast;
  static constexpr bool kUpsample2x = kUpsample2x_;
  static constexpr bool kHalfPacks = kHalfPacks_;  // branches are accessed by packs of 8 bytes
  static constexpr int kLanes = kWidth;                         // values of a pack
  static constexpr int kChannels = kLast ? kWidth : 1;          // channels of a pack
  static constexpr int kPixels = kLast ? 1 : kWidth;            // pixels of a pack
  static constexpr int kRows = kUpsample2x ? 2 : 1;                  // image rows of an item
  static constexpr int kCols = kUpsample2x && kPixels == 1 ? 2 : 1;  // packs of an item in an image row
  static constexpr int kPacks = kRows * kCols;
  static constexpr int kLowLanes = kPixels > 1 ? kWidth / 2 : kWidth;
  // The constants of a thread's channels are loaded from shared memory for kGroup values of a pack at a time, to save
  // registers. These values have kGroupChannels channels.
  static constexpr int kGroup = kLast && kWidth > 4 ? 4 : kWidth;
  static constexpr int kGroupChannels = kLast ? kGroup : 1;
  using Values = Pack<T, kWidth>;
  using LowValues = Pack<T, kLowLanes>;

  // Whether the items of all samples form one sequence of pixels. An item is then identified by one number instead of
  // the triple (sample, line, column).
  static constexpr bool kOneRun = kLast && !kUpsample2x;

  // An offset within a chunk: in channels_last a number of pixels, in the contiguous layout a number of packs from
  // the first value of the channel. With packs of 16 bytes, pass.cpp ensures that 32 bits suffice. In the
  // contiguous layout with packs of one value there may be more.
  using Offset = std::conditional_t<kLast || (kWidth > 1), unsigned, uint64_t>;

  // The index of the thread's channel, and the index in the pack of low, to which value v of a pack belongs.
  static constexpr __host__ __device__ int channel_of(int v) { return kLast ? v : 0; }
  static constexpr __host__ __device__ int low_of(int v) { return kPixels > 1 ? v / 2 : v; }
};

__host__ __device__ inline int64_t plane_of(const Dims& dims) { return dims.h * dims.w; }

// The channels of a thread and the start of its chunk. In the last group of channels some lanes may have no channels.
// Their threads access no packs, but take part in every barrier.
template <class K>
struct ThreadPosition {
  int lane, row;
  int64_t channel;  // the first channel of the thread
  int64_t begin;    // the first item of the chunk
  int64_t sample;   // the sample of that item; 0 with kOneRun
  bool active;      // whether the lane has channels

  __device__ ThreadPosition(const Dims& dims, const WorkSplit& cut, int group, int split)
      : lane(cut.lanes == 1 ? 0 : threadIdx.x % cut.lanes),
        row(cut.lanes == 1 ? threadIdx.x : threadIdx.x / cut.lanes),
        channel((int64_t(group) * cut.lanes + lane) * K::kChannels),
        begin(split * cut.chunk),
        sample(K::kOneRun ? 0 : quotient(begin, int64_t(cut.cols) * cut.lines)),
        active(channel < dims.c) {}

  // a / b for non-negative numbers, by a 32-bit division if both fit, because a 64-bit division is much slower.
  static __device__ int64_t quotient(int64_t a, int64_t b) {
    return (a | b) >> 31 ? a / b : unsigned(a) / unsigned(b);
  }
};

// The position of a pack in a chunk. n is its sample, relative to the first sample of the chunk. In the contiguous
// layout `place` is the offset of the pack within the channel of this sample. In channels_last it is the offset
// from the first sample of the chunk.
template <class K>
struct PackOffset {
  unsigned n;
  typename K::Offset place;
};

// Iterates over the items of a thread, which are `rows` items apart. The state is a pixel (kOneRun), or a triple
// (sample, line, column) that is advanced by an addition with carries.
template <class K>
class ItemIterator {
 public:
  int left;  // number of remaining items

  __device__ ItemIterator(const WorkSplit& cut, const ThreadPosition<K>& thread) : cut_(cut) {
    const int64_t end = thread.begin + cut.chunk < cut.items ? thread.begin + cut.chunk : cut.items;
    const int64_t mine = end - thread.begin - thread.row;
    left = mine > 0 ? static_cast<int>((mine + cut.rows - 1) / cut.rows) : 0;
    if constexpr (K::kOneRun) {
      col_ = thread.row;
      return;
    }
    const int64_t item = thread.begin - thread.sample * cut.lines * cut.cols + thread.row;
    const int64_t line = ThreadPosition<K>::quotient(item, cut.cols);
    col_ = static_cast<unsigned>(item - line * cut.cols);
    n_ = static_cast<unsigned>(K::kUpsample2x ? ThreadPosition<K>::quotient(line, cut.lines) : line);
    line_ = static_cast<unsigned>(line - int64_t(n_) * cut.lines);
  }

  // The position of the item's pack in low. low has one pack for each item, in the same order.
  __device__ PackOffset<K> low() const {
    return offset_of(typename K::Offset(line_) * cut_.cols + col_, unsigned(cut_.cols) * cut_.lines);
  }

  // The position of pack q of the item. With upsample2x, the packs of the upper image row come first.
  __device__ PackOffset<K> pack(int q) const {
    if constexpr (!K::kUpsample2x) return {n_, col_};
    const unsigned width = cut_.cols * K::kCols;
    const typename K::Offset line = typename K::Offset(line_) * K::kRows + q / K::kCols;
    return offset_of(line * width + col_ * K::kCols + q % K::kCols, width * cut_.lines * K::kRows);
  }

  __device__ void step() {
    --left;
    if constexpr (K::kOneRun) {
      col_ += cut_.rows;
      return;
    }
    n_ += cut_.step_n;
    line_ += K::kUpsample2x ? cut_.step_line : 0;
    col_ += cut_.step_col;
    if (col_ >= static_cast<unsigned>(cut_.cols)) {
      col_ -= cut_.cols;
      ++(K::kUpsample2x ? line_ : n_);
    }
    if (K::kUpsample2x && line_ >= static_cast<unsigned>(cut_.lines)) {
      line_ -= cut_.lines;
      ++n_;
    }
  }

 private:
  __device__ PackOffset<K> offset_of(typename K::Offset place, unsigned sample) const {
    if constexpr (K::kChannelsLast) place += n_ * sample;
    return {n_, place};
  }

  const WorkSplit& cut_;
  unsigned n_ = 0, line_ = 0, col_ = 0;  // unsigned, because a step past the last item may exceed 2^31 - 1
};

// The packs that a thread loads before it uses the first of them, so that all loads are in flight together. If an
// item is one pack, they are up to kMost items, fewer at the end of a chunk. If an item has several packs, a step
// has kMost of them at most, and the item takes kTurns steps. Missing packs at the end have the position of the
// first pack. The loads then need no branch, after which they would wait for the arithmetic on the packs before.
template <class K, int kMost>
struct Step {
  static constexpr int kPacks = K::kPacks == 1 || kMost < K::kPacks ? kMost : K::kPacks;
  static constexpr int kTurns = K::kPacks == 1 ? 1 : K::kPacks / kPacks;
  PackOffset<K> pack[kPacks];
  int packs = kPacks;

  // Advances `items` after the last turn.
  __device__ Step(ItemIterator<K>& items, int turn) {
    if constexpr (K::kPacks == 1) packs = items.left < kPacks ? items.left : kPacks;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      pack[p] = has(p) ? items.pack(K::kPacks == 1 ? 0 : turn * kPacks + p) : pack[0];
      if (K::kPacks == 1 || (turn == kTurns - 1 && p == kPacks - 1)) items.step();
    }
  }

  // Whether pack p is not a repetition of the first.
  __device__ bool has(int p) const { return p == 0 || p < packs; }
};

// The addresses of a thread's packs in one tensor. A view is empty (false, with stride 0) if the tensor is absent or
// does not have the thread's channels. kBytes is the size of a pack in the contiguous layout; channels_last does not
// use it.
template <class K, class T, int kBytes = sizeof(T) * K::kPixels>
class View {
 public:
  __device__ View() {}
  __device__ View(T* tensor, int64_t channels, int64_t plane, int64_t channel,
                  const ThreadPosition<K>& thread) {
    const int64_t first = K::kOneRun ? thread.begin : thread.sample * plane;
    base_ = reinterpret_cast<Byte*>(tensor + first * channels + (K::kChannelsLast ? channel : channel * plane));
    stride_ = K::kChannelsLast ? channels * sizeof(T) : channels * plane * sizeof(T) / kBytes;
  }

  __device__ explicit operator bool() const { return stride_ != 0; }
  __device__ T* at(const PackOffset<K>& pack) const {
    if constexpr (K::kChannelsLast) {
      return reinterpret_cast<T*>(base_ + product(pack.place, stride_));
    } else {
      return reinterpret_cast<T*>(base_ + uint64_t(pack.n * stride_ + pack.place) * kBytes);
    }
  }

 private:
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  Byte* base_ = nullptr;
  typename K::Offset stride_ = 0;  // channels_last: from pixel to pixel in bytes; else from sample to sample in packs
};

template <class K>
using Input = View<K, const typename K::T>;
template <class K>
using Output = View<K, typename K::T>;
template <class K, class T>
using LowView = View<K, T, sizeof(T) * (K::kPixels > 1 ? K::kLowLanes : 1)>;

// The views of tensors that have the shape of y.
template <class K>
__device__ Input<K> input(const In& tensor, const Dims& dims, const ThreadPosition<K>& thread) {
  if (!tensor.given) return {};
  return {static_cast<const typename K::T*>(tensor.data), dims.c, plane_of(dims), thread.channel, thread};
}

template <class K>
__device__ Output<K> output(const Out& tensor, const Dims& dims, const ThreadPosition<K>& thread) {
  if (!tensor.given) return {};
  return {static_cast<typename K::T*>(tensor.data), dims.c, plane_of(dims), thread.channel, thread};
}

}  // namespace softgate::cuda
