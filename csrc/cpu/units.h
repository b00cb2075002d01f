// How a call is cut into units of work, for every instruction set: by shape alone, so that the sums, and
// with them the bits of the result, do not depend on the number of threads.
//
// A unit is a contiguous piece of y. Contiguous layout: a piece of one plane, one channel, one row of
// `len` values. channels_last: `rows` whole pixels of `len` = C channels. Where a merge reads a low-
// resolution tensor, a unit is whole pairs of image rows, so that four children stay together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../args.h"

namespace softgate::cpu {

struct Unit {
  int64_t index;    // where its partial sums belong
  int64_t offset;   // of its first value in y
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
  // Values per channel in the i-th unit of a channel.
  int64_t values(int64_t i) const {
    const int64_t piece = pieces_ == 1 ? 0 : i % pieces_;
    return std::min(pixels_, extent_ - piece * pixels_);
  }
  // Values in the largest unit.
  int64_t capacity() const { return pixels_ * (dims_.channels_last ? dims_.c : 1); }

  // The units of one channel follow each other, as the sums want it.
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

  // The units follow each other in memory, as a single pass wants it: hardware prefetches along, and
  // neighbours share pages.
  Unit in_memory_order(int64_t position) const {
    if (dims_.channels_last) return (*this)[position];
    const int64_t plane = position / pieces_, piece = position % pieces_;
    const int64_t image = plane / dims_.c, channel = plane % dims_.c;
    return (*this)[channel * per_channel_ + image * pieces_ + piece];
  }

 private:
  // Contiguous: 8 KiB of float stay in the first-level cache beside the streams they come from.
  static constexpr int64_t kTileContiguous = 2048;
  // channels_last: 64 KiB of float stay in the second level, few enough tiles that their sums are
  // small beside the data.
  static constexpr int64_t kTileChannelsLast = 16384;
  // Every unit starts on a cache line where the tensor does, also in half types.
  static constexpr int64_t kPixelGranule = 32;

  Dims dims_;
  int64_t pixels_, extent_, pieces_, per_channel_;
};

}  // namespace softgate::cpu
