// Where a thread works: its channels, which stay the same for the whole kernel, and its items, which
// it walks without a division. Both layouts and both item shapes differ in these few numbers only, so
// that every kernel is written once.
//
// Addresses are what a lean loop is made of or ruined by: a product of 64 bits takes four instructions,
// and each of up to six tensors wants one for every pack. So a chunk counts from its own first sample,
// and it counts packs, in 32 bits: from there on an address is one multiplication and one wide
// multiply-add.
#pragma once

#include "pack.cuh"
#include "plan.h"

namespace softgate::cuda {

template <class T_, bool kLast, int kWidth, bool kUpsample2x_, bool kHalfPacks_ = false>
struct Tiling {
  using T = T_;
  using A = Accumulator<T>;
  static constexpr bool kChannelsLast = kLast;
  static constexpr bool kUpsample2x = kUpsample2x_;
  static constexpr bool kHalfPacks = kHalfPacks_;  // branches are read and written by half packs
  static constexpr int kLanes = kWidth;                         // values of a pack
  static constexpr int kChannels = kLast ? kWidth : 1;          // channels of a pack
  static constexpr int kPixels = kLast ? 1 : kWidth;            // pixels of a pack
  static constexpr int kRows = kUpsample2x ? 2 : 1;                  // image rows of an item
  static constexpr int kCols = kUpsample2x && kPixels == 1 ? 2 : 1;  // packs of an item side by side
  static constexpr int kPacks = kRows * kCols;
  static constexpr int kLowLanes = kPixels > 1 ? kWidth / 2 : kWidth;
  // Values of a pack whose channels' constants are in registers at a time, and those channels.
  static constexpr int kGroup = kLast && kWidth > 4 ? 4 : kWidth;
  static constexpr int kGroupChannels = kLast ? kGroup : 1;
  using Values = Pack<T, kWidth>;
  using LowValues = Pack<T, kLowLanes>;

  // Whether a sample begins where the last one ends, so that items are pixels and need no digits.
  static constexpr bool kOneRun = kLast && !kUpsample2x;

  // Counts packs of a chunk, channels_last over its samples, contiguous from the first value of its
  // channel on, past the other channels. pass.cpp sees to it that 2^32 packs are never exceeded; of
  // packs of one value there may be more.
  using Offset = std::conditional_t<kLast || (kWidth > 1), unsigned, uint64_t>;

  // Which of the thread's channels, and which value of the low pack, value v belongs to.
  static constexpr __host__ __device__ int channel_of(int v) { return kLast ? v : 0; }
  static constexpr __host__ __device__ int low_of(int v) { return kPixels > 1 ? v / 2 : v; }
};

__host__ __device__ inline int64_t plane_of(const Dims& dims) { return dims.h * dims.w; }

// The channels of a thread, and where its chunk begins. A group at the end of the channels may have
// idle lanes.
template <class K>
struct ThreadPosition {
  int lane, row;
  int64_t channel;
  int64_t begin;   // the first item of the chunk
  int64_t sample;  // and its sample; of one run, whose items are pixels, zero
  bool active;

  __device__ ThreadPosition(const Dims& dims, const WorkSplit& cut, int group, int split)
      : lane(cut.lanes == 1 ? 0 : threadIdx.x % cut.lanes),
        row(cut.lanes == 1 ? threadIdx.x : threadIdx.x / cut.lanes),
        channel((int64_t(group) * cut.lanes + lane) * K::kChannels),
        begin(split * cut.chunk),
        sample(K::kOneRun ? 0 : quotient(begin, int64_t(cut.cols) * cut.lines)),
        active(channel < dims.c) {}

  static __device__ int64_t quotient(int64_t a, int64_t b) {
    return (a | b) >> 31 ? a / b : unsigned(a) / unsigned(b);
  }
};

// A pack in a chunk: its sample, counted from the chunk's first, and its place there. channels_last,
// where samples follow each other, the place counts from the chunk's first sample on.
template <class K>
struct PackOffset {
  unsigned n;
  typename K::Offset place;
};

// The items of a thread, `rows` apart: pixels of one run, or (n, line, col) digits, which take one
// addition with carries a step.
template <class K>
class ItemIterator {
 public:
  int left;  // items still to come

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

  // The item's pack of the low resolution, whose index is that of the item itself.
  __device__ PackOffset<K> low() const {
    return offset_of(typename K::Offset(line_) * cut_.cols + col_, unsigned(cut_.cols) * cut_.lines);
  }

  // Pack q of the item: the packs of two image rows, upper row first, where there is a low resolution.
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
  unsigned n_ = 0, line_ = 0, col_ = 0;  // a step past the last of 2^31 - 1 must not overflow
};

// The packs of which a thread has all loads in flight before it uses the first: kMost of them, each of an
// item of its own, fewer at the end of a chunk; or, where an item has several packs, those of one turn. The places
// past the end are the first pack's again, so that loads need no branch: behind one they would wait for the arithmetic
// of the packs before.
template <class K, int kMost>
struct Step {
  static constexpr int kPacks = K::kPacks == 1 || kMost < K::kPacks ? kMost : K::kPacks;
  static constexpr int kTurns = K::kPacks == 1 ? 1 : K::kPacks / kPacks;
  PackOffset<K> pack[kPacks];
  int packs = kPacks;

  // Moves on to the next item after the last turn.
  __device__ Step(ItemIterator<K>& items, int turn) {
    if constexpr (K::kPacks == 1) packs = items.left < kPacks ? items.left : kPacks;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      pack[p] = has(p) ? items.pack(K::kPacks == 1 ? 0 : turn * kPacks + p) : pack[0];
      if (K::kPacks == 1 || (turn == kTurns - 1 && p == kPacks - 1)) items.step();
    }
  }

  __device__ bool has(int p) const { return p == 0 || p < packs; }
};

// A tensor seen from a thread: where its channels lie at a pack. Empty, without a stride, where the
// tensor is absent or does not have the channels. kBytes: of a pack, where it is several pixels.
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
  typename K::Offset stride_ = 0;  // channels_last: bytes between pixels; else packs between samples
};

template <class K>
using Input = View<K, const typename K::T>;
template <class K>
using Output = View<K, typename K::T>;
template <class K, class T>
using LowView = View<K, T, sizeof(T) * (K::kPixels > 1 ? K::kLowLanes : 1)>;

// The tensors that have the channels of y.
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
