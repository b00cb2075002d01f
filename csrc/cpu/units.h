// The division of a call into units of work, for every instruction set. It depends on the shape alone, so
// that sums, and the bits of the result, do not depend on the number of threads.
//
// A unit is a contiguous piece of y. In the contiguous layout it is a piece of one plane: one channel, one
// row of `len` values. In channels_last it is `rows` whole pixels of `len` = C channels. If the op has a
// low-resolution tensor `low`, a unit consists of whole pairs of image rows, so that the four children (2 x 2
// pixels of y) of a value of `low` are in one unit.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../args.h"

namespace softgate::cpu {

struct Unit {
  int64_t index;    // the place of its partial sums
  int64_t offset;   // offset of its first value in y
  int64_t channel;  // contiguous layout: its channel, else 0
  int64_t image;    // contiguous layout: its image, else 0
  int64_t pixel;    // first pixel, within the plane (contiguous layout) or within the batch
  int64_t rows, len;

  int64_t size() const { return rows * len; }
};

class Units {
 public:
  Units(const Dims& dims, bool row_pairs) : dims_(dims) {
    const int64_t granule = row_pairs ? 2 * dims.w : kPixelGranule;
    const int64_t values = dims.channels_last ? kTileChannelsLast / dims.c : kTileContiguous;
    pixels_ = std::max<int64_t>(1, values / granule) * granule;
    extent_ = dims.channels_last ? dims.count() : dims.plane();
    pieces_ = (extent_ + pixels_ - 1) / pixels_;
    per_channel_ = dims.channels_last ? pieces_ : pieces_ * dims.n;
  }

  int64_t count() const { return dims_.channels_last ? pieces_ : per_channel_ * dims_.c; }
  // Contiguous layout: the units of channel c are [c * per_channel(), (c + 1) * per_channel()).
  int64_t per_channel() const { return per_channel_; }
  // The number of values in the i-th unit of a channel.
  int64_t values(int64_t i) const {
    const int64_t piece = pieces_ == 1 ? 0 : i % pieces_;
    return std::min(pixels_, extent_ - piece * pixels_);
  }
  // The number of values in the largest unit.
  int64_t capacity() const { return pixels_ * (dims_.channels_last ? dims_.c : 1); }

  // The order of the sums: the units of one channel follow each other.
  Unit operator[](int64_t index) const {
    if (dims_.channels_last) {
      const int64_t pixel = index * pixels_;
      return {index, pixel * dims_.c, 0, 0, pixel, std::min(pixels_, extent_ - pixel), dims_.c};
    }
    const int64_t channel = index / per_channel_, within = index % per_channel_;
    const int64_t image = pieces_ == 1 ? within : within / pieces_;
    const int64_t pixel = (within - image * pieces_) * pixels_;
    const int64_t offset = (image * dims_.c + channel) * extent_ + pixel;
    return {index, offset, channel, image, pixel, 1, std::min(pixels_, extent_ - pixel)};
  }

  // The order of a single pass: the units follow each other in memory, so that hardware prefetching works and
  // neighbours share pages.
  Unit in_memory_order(int64_t position) const {
    if (dims_.channels_last) return (*this)[position];
    const int64_t plane = position / pieces_, piece = position % pieces_;
    const int64_t image = plane / dims_.c, channel = plane % dims_.c;
    return (*this)[channel * per_channel_ + image * pieces_ + piece];
  }

 private:
  // Contiguous: 8 KiB of float stay in the first-level cache beside the data they are computed from.
  static constexpr int64_t kTileContiguous = 2048;
  // channels_last: 64 KiB of float stay in the second-level cache, and there are so few units that their
  // sums are small compared with the data.
  static constexpr int64_t kTileChannelsLast = 16384;
  // Every unit starts on a cache line if the tensor does, also in half precision.
  static constexpr int64_t kPixelGranule = 32;

  Dims dims_;
  int64_t pixels_, extent_, pieces_, per_channel_;
};

}  // namespace softgate::cpu
