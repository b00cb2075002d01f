// The tensors from which a thread computes y (SourceReader), and those into which it writes the gradients of y
// (Sinks). Which tensors have the thread's channels is determined once, before the main loop.
//
// In channels_last a branch may end in the middle of a pack, for example with branches of 72, 36 and 36 channels
// in half precision, or its memory may be aligned to 8 bytes only. All branches are then accessed by half packs of
// 8 bytes, and all other tensors still by whole packs.
#pragma once

#include "table.cuh"

namespace softgate::cuda {

// The first channel of y to which low belongs.
__device__ inline int64_t low_start(const Source& source, const Dims& dims) {
  return source.concat ? dims.c - source.low_channels : 0;
}

// The branch that has the channels of a thread. With half packs there may be two branches, one for each half of a
// pack. `tensors` are the branches or their gradients.
template <class K, class T, class Tensors>
class BranchView {
 public:
  __device__ BranchView(const Source& source, const Tensors& tensors, int64_t plane,
                        const ThreadPosition<K>& thread) {
#pragma unroll
    for (int h = 0; h < kParts; ++h) {
      int64_t start = 0;
      const int64_t first = thread.channel + h * kLanes;
#pragma unroll
      for (int i = 0; i < kMaxBranches; ++i) {
        if (i >= source.branches) continue;
        const int64_t width = source.width[i];
        if (first >= start && first < start + width && tensors[i].given) {
          part_[h] = View<K, T>(static_cast<T*>(tensors[i].data), width, plane, first - start, thread);
        }
        start += width;
      }
    }
  }

  // Channels that no branch has are zero. kKeepInL2: a later pass reads the same data again, so they should stay
  // in L2.
  template <bool kKeepInL2>
  __device__ typename K::Values read(const PackOffset<K>& at) const {
    typename K::Values pack{};
#pragma unroll
    for (int h = 0; h < kParts; ++h) {
      if (!part_[h]) continue;
      const auto place = part_[h].at(at);
      const Part values = kKeepInL2 ? load<Part>(place) : load_cs<Part>(place);
#pragma unroll
      for (int i = 0; i < Part::kUnits; ++i) pack.unit[h * Part::kUnits + i] = values.unit[i];
    }
    return pack;
  }

  __device__ void write(const PackOffset<K>& at, const typename K::Values& pack) const {
#pragma unroll
    for (int h = 0; h < kParts; ++h) {
      if (!part_[h]) continue;
      Part values;
#pragma unroll
      for (int i = 0; i < Part::kUnits; ++i) values.unit[i] = pack.unit[h * Part::kUnits + i];
      store_cs(part_[h].at(at), values);
    }
  }

 private:
  static constexpr int kParts = K::kHalfPacks ? 2 : 1;
  static constexpr int kLanes = K::kLanes / kParts;
  using Part = Pack<typename K::T, kLanes>;

  View<K, T> part_[kParts];
};

// Loads the inputs of y and computes alpha * skip + branch + low.
template <class K>
class SourceReader {
 public:
  using A = typename K::A;
  struct Loaded {
    typename K::Values skip, branch;
  };

  // The skip is not read if alpha is 0 for all channels of the thread (a closed gate).
  __device__ SourceReader(const Source& s, const Dims& dims, const Table<K>& table,
                          const ThreadPosition<K>& thread)
      : branch_(s, s.branch, plane_of(dims), thread) {
    using T = typename K::T;
    if (s.skip.given && thread.channel < s.skip_channels && table.any(kAlpha)) {
      skip_ = {static_cast<const T*>(s.skip.data), s.skip_channels, plane_of(dims), thread.channel, thread};
    }
    const int64_t start = low_start(s, dims);
    if (K::kUpsample2x && s.low.given && thread.channel >= start) {
      low_ = {static_cast<const T*>(s.low.data), s.low_channels, plane_of(dims) / 4,
              thread.channel - start, thread};
    }
  }

  // Absent tensors are zero. kKeepInL2 applies to the branch, see BranchView.
  template <bool kKeepInL2>
  __device__ Loaded load_pack(const PackOffset<K>& at) const {
    Loaded loaded{{}, branch_.template read<kKeepInL2>(at)};
    if (skip_) loaded.skip = load_cs<typename K::Values>(skip_.at(at));
    return loaded;
  }

  __device__ typename K::LowValues load_low(const ItemIterator<K>& item) const {
    if constexpr (K::kUpsample2x) {
      if (low_) return load_cs<typename K::LowValues>(low_.at(item.low()));
    }
    return {};
  }

  // Computes y of one pack in the accumulator's type and rounds it to T.
  __device__ typename K::Values value(const Loaded& loaded, const typename K::LowValues& low,
                                      const Table<K>& table) const {
    A y[K::kLanes];
#pragma unroll
    for (int first = 0; first < K::kLanes; first += K::kGroup) {
      A alpha[K::kGroupChannels];
      table.read(kAlpha, first, alpha);
#pragma unroll
      for (int i = 0; i < K::kGroup; ++i) {
        const int v = first + i;
        A rest = loaded.branch.get(v);
        if constexpr (K::kUpsample2x) rest += low.get(K::low_of(v));
        y[v] = gate(alpha[K::channel_of(i)], loaded.skip.get(v), rest);
      }
    }
    typename K::Values pack;
    pack.set(y);
    return pack;
  }

 private:
  Input<K> skip_;
  LowView<K, const typename K::T> low_;
  BranchView<K, const typename K::T, const In[kMaxBranches]> branch_;
};

// The gradient tensors into which a thread writes, and the skip, which it reads for alpha's gradient.
template <class K>
struct Sinks {
  using A = typename K::A;
  Input<K> skip;  // empty unless alpha's gradient is required
  Output<K> dskip;
  LowView<K, typename K::T> dlow;
  BranchView<K, typename K::T, const Out[kMaxBranches]> branch;

  __device__ Sinks(const Backward& a, const ThreadPosition<K>& thread)
      : branch(a.source, a.dbranch, plane_of(a.dims), thread) {
    using T = typename K::T;
    const Source& s = a.source;
    const int64_t plane = plane_of(a.dims), channel = thread.channel, low_channel = channel - low_start(s, a.dims);
    if (channel < s.skip_channels && a.dalpha.given) {
      skip = {static_cast<const T*>(s.skip.data), s.skip_channels, plane, channel, thread};
    }
    if (channel < s.skip_channels && a.dskip.given) {
      dskip = {static_cast<T*>(a.dskip.data), s.skip_channels, plane, channel, thread};
    }
    if (K::kUpsample2x && a.dlow.given && low_channel >= 0) {
      dlow = {static_cast<T*>(a.dlow.data), s.low_channels, plane / 4, low_channel, thread};
    }
  }

  // Writes the gradient of one pack of low, each value of which is the sum of its four children in y.
  __device__ void write_low(const PackOffset<K>& at, const A (&sums)[K::kLowLanes]) const {
    if constexpr (K::kUpsample2x) {
      if (!dlow) return;
      typename K::LowValues pack;
      pack.set(sums);
      store_cs(dlow.at(at), pack);
    }
  }
};

}  // namespace softgate::cuda
