// Where y comes from, and where its gradient goes back to, seen from one thread: which tensors have
// its channels is settled once, so that inside the loops a tensor is there or not. A branch may end in
// the middle of a pack (three convolutions of 72, 36 and 36 channels); then branches are read and
// written by half packs of 8 bytes, and everything else still by whole ones.
#pragma once

#include "table.cuh"

namespace softgate::cuda {

// First channel of low in y.
__device__ inline int64_t low_start(const Source& source, const Dims& dims) {
  return source.concat ? dims.c - source.low_channels : 0;
}

// The branches as seen by a thread: the one that has its channels, or the two that have half of them
// each. `tensors` are the branches or their gradients.
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

  // kKeepInL2: a later pass reads the same, so it had better wait in L2.
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

template <class K>
class SourceReader {
 public:
  using A = typename K::A;
  struct Loaded {
    typename K::Values skip, branch;
  };

  // The skip is not read where the gates of all the thread's channels are closed.
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

  // Zero where a tensor is absent. kKeepInL2: of the branch, see BranchView.
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

  // y, rounded to T.
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

}  // namespace softgate::cuda
