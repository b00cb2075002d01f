// Where a thread works: its channels, which stay the same for the whole kernel, and its items, which
// it walks without a division. Both layouts and both item shapes differ in these few numbers only, so
// that every kernel is written once.
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
  static constexpr int kLoadsInFlight = 2;  // packs of each tensor of the source in flight
  static constexpr int kLowLanes = kPixels > 1 ? kWidth / 2 : kWidth;
  // Values of a pack whose channels' constants are in registers at a time, and those channels.
  static constexpr int kGroup = kLast && kWidth > 4 ? 4 : kWidth;
  static constexpr int kGroupChannels = kLast ? kGroup : 1;
  using Values = Pack<T, kWidth>;
  using LowValues = Pack<T, kLowLanes>;

  // Whether a sample begins where the last one ends, so that items are pixels and need no digits.
  static constexpr bool kOneRun = kLast && !kUpsample2x;

  // Counts pixels from the thread's first one (no chunk has 2^32 of them: they would fill a GPU), over
  // the batch, or within a sample.
  using Pixel = std::conditional_t<kOneRun, unsigned, std::conditional_t<kLast, int64_t, int>>;

  // Which of the thread's channels, and which value of the low pack, value v belongs to.
  static constexpr __host__ __device__ int channel_of(int v) { return kLast ? v : 0; }
  static constexpr __host__ __device__ int low_of(int v) { return kPixels > 1 ? v / 2 : v; }
};

__host__ __device__ inline int64_t plane_of(const Dims& dims) { return dims.h * dims.w; }

// The channels of a thread, and the pixel from which it counts. A group at the end of the channels may
// have idle lanes.
template <class K>
struct ThreadPosition {
  int lane, row;
  int64_t channel, origin;
  bool active;

  __device__ ThreadPosition(const Dims& dims, const WorkSplit& cut, int group, int split)
      : lane(cut.lanes == 1 ? 0 : threadIdx.x % cut.lanes),
        row(cut.lanes == 1 ? threadIdx.x : threadIdx.x / cut.lanes),
        channel((int64_t(group) * cut.lanes + lane) * K::kChannels),
        origin(K::kOneRun ? split * cut.chunk + row : 0),
        active(channel < dims.c) {}
};

// The first pixel of an item, and of its pack of the low resolution.
template <class K>
struct ItemOffset {
  int n;
  typename K::Pixel first, low;
};

// The items of a thread, `rows` apart: pixels of one run, or (n, row, col) digits, which take one
// addition with carries a step.
template <class K>
class ItemIterator {
 public:
  int left;  // items still to come

  __device__ ItemIterator(const Dims& dims, const WorkSplit& cut, int split, int row)
      : cut_(cut), width_(static_cast<int>(K::kUpsample2x ? dims.w : plane_of(dims))) {
    const int64_t begin = split * cut.chunk;
    const int64_t end = begin + cut.chunk < cut.items ? begin + cut.chunk : cut.items;
    const int64_t mine = end - begin - row;
    left = mine > 0 ? static_cast<int>((mine + cut.rows - 1) / cut.rows) : 0;
    if constexpr (K::kOneRun) return;
    const int64_t item = begin + row;
    const int64_t line = item >> 31 ? item / cut.cols : unsigned(item) / unsigned(cut.cols);
    col_ = static_cast<unsigned>(item - line * cut.cols);
    n_ = static_cast<unsigned>(K::kUpsample2x ? line / cut.lines : line);
    line_ = static_cast<unsigned>(line - int64_t(n_) * cut.lines);
  }

  __device__ ItemOffset<K> next() {
    --left;
    if constexpr (K::kOneRun) {
      const ItemOffset<K> item{0, pixel_, 0};
      pixel_ += cut_.rows;
      return item;
    }
    const int col = static_cast<int>(col_ * (K::kCols * K::kPixels));
    ItemOffset<K> item{static_cast<int>(n_), typename K::Pixel(line_ * K::kRows) * width_ + col, 0};
    if constexpr (K::kUpsample2x) {
      item.low = typename K::Pixel(line_) * (width_ / 2) + col / 2;
      if constexpr (K::kChannelsLast) {
        const int64_t low_plane = int64_t(cut_.lines) * (width_ / 2);
        item.first += n_ * low_plane * 4;
        item.low += n_ * low_plane;
      }
      line_ += cut_.step_line;
    }
    n_ += cut_.step_n;
    col_ += cut_.step_col;
    if (col_ >= static_cast<unsigned>(cut_.cols)) {
      col_ -= cut_.cols;
      ++(K::kUpsample2x ? line_ : n_);
    }
    if (K::kUpsample2x && line_ >= static_cast<unsigned>(cut_.lines)) {
      line_ -= cut_.lines;
      ++n_;
    }
    return item;
  }

  // From the first pixel of an item to the first pixel of its pack q.
  __device__ int offset(int q) const {
    return (q / K::kCols) * width_ + (q % K::kCols) * K::kPixels;
  }

 private:
  const WorkSplit& cut_;
  int width_;
  typename K::Pixel pixel_ = 0;
  unsigned n_ = 0, line_ = 0, col_ = 0;  // a step past the last of 2^31 - 1 must not overflow
};

// A tensor seen from a thread: where its channel lies at a pixel. Empty, without a stride, where the
// tensor is absent or does not have the channel. The address of a pixel of a run is one wide multiply-add.
template <class K, class T>
struct View {
  using Stride = std::conditional_t<K::kOneRun, unsigned,  // bytes between pixels
                                    std::conditional_t<K::kChannelsLast, int, int64_t>>;
  T* base = nullptr;
  Stride stride = 0;  // between pixels, or samples

  __device__ View() {}
  __device__ View(T* tensor, int64_t channels, int64_t plane, int64_t channel, int64_t origin)
      : base(tensor + (K::kChannelsLast ? channel + origin * channels : channel * plane)),
        stride(K::kOneRun         ? channels * sizeof(T)
               : K::kChannelsLast ? channels
                                  : channels * plane) {}

  __device__ explicit operator bool() const { return stride != 0; }
  __device__ T* at(int n, typename K::Pixel pixel) const {
    if constexpr (K::kOneRun) {
      using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
      return reinterpret_cast<T*>(reinterpret_cast<Byte*>(base) + uint64_t(pixel) * stride);
    } else if constexpr (K::kChannelsLast) {
      return base + pixel * stride;
    } else {
      return base + n * stride + pixel;
    }
  }
};

template <class K>
using Input = View<K, const typename K::T>;
template <class K>
using Output = View<K, typename K::T>;

template <class K>
__device__ Input<K> input(const In& tensor, const Dims& dims, const ThreadPosition<K>& thread) {
  if (!tensor.given) return {};
  return {static_cast<const typename K::T*>(tensor.data), dims.c, plane_of(dims), thread.channel,
          thread.origin};
}

template <class K>
__device__ Output<K> output(const Out& tensor, const Dims& dims, const ThreadPosition<K>& thread) {
  if (!tensor.given) return {};
  return {static_cast<typename K::T*>(tensor.data), dims.c, plane_of(dims), thread.channel,
          thread.origin};
}

}  // namespace softgate::cuda
