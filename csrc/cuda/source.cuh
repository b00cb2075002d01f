// Where y comes from, and where its gradient goes back to, seen from one thread: which tensors have
// its channels is settled once, so that inside the loops a tensor is there or not. A branch may be
// narrower than a pack (three convolutions of 72, 36 and 36 channels); then its values are read and
// written by pairs, and everything else still by whole packs.
#pragma once

#include "table.cuh"

namespace softgate::cuda {

// First channel of low in y.
__device__ inline int64_t low_start(const Source& source, const Dims& dims) {
  return source.concat ? dims.c - source.low_channels : 0;
}

// The branches as seen by a thread: the one branch that has its channels or, where branches end
// within packs, all of them, and then each pair of channels looks its own one up. `tensors` are the
// branches or their gradients.
template <class K, class T, class Tensors>
class BranchView {
 public:
  __device__ BranchView(const Source& source, const Tensors& tensors, int64_t plane,
                        int64_t channel)
      : source_(source), tensors_(tensors), plane_(plane), channel_(channel) {
    if constexpr (!K::kPairs) whole_ = part(0);
  }

  // `again`: a later pass reads the same, so it had better wait in L2. (Pairs leave that to the cache.)
  __device__ typename K::Values read(int n, typename K::Pixel pixel, bool again) const {
    typename K::Values pack{};
    if constexpr (K::kPairs) {
#pragma unroll
      for (int v = 0; v < K::kLanes; v += 2) {
        const View<K, T> pair = part(v);
        if (!pair) continue;
        const Pair values = load<Pair>(pair.at(n, pixel));
#pragma unroll
        for (int i = 0; i < Pair::kUnits; ++i) pack.unit[v / 2 * Pair::kUnits + i] = values.unit[i];
      }
    } else if (whole_) {
      const auto place = whole_.at(n, pixel);
      pack = again ? load<typename K::Values>(place) : load_cs<typename K::Values>(place);
    }
    return pack;
  }

  __device__ void write(int n, typename K::Pixel pixel, const typename K::Values& pack) const {
    if constexpr (K::kPairs) {
#pragma unroll
      for (int v = 0; v < K::kLanes; v += 2) {
        const View<K, T> pair = part(v);
        Pair values;
#pragma unroll
        for (int i = 0; i < Pair::kUnits; ++i) values.unit[i] = pack.unit[v / 2 * Pair::kUnits + i];
        if (pair) store(pair.at(n, pixel), values);
      }
    } else if (whole_) {
      store_cs(whole_.at(n, pixel), pack);
    }
  }

 private:
  using Pair = Pack<typename K::T, 2>;

  // The branch that has channel c of the pack.
  __device__ View<K, T> part(int c) const {
    int64_t start = 0;
    const int64_t channel = channel_ + c;
    View<K, T> found;
#pragma unroll
    for (int i = 0; i < kMaxBranches; ++i) {
      if (i < source_.branches) {
        const int64_t width = source_.width[i];
        if (channel >= start && channel < start + width && tensors_[i].given) {
          found = View<K, T>(static_cast<T*>(tensors_[i].data), width, plane_, channel - start);
        }
        start += width;
      }
    }
    return found;
  }

  const Source& source_;
  const Tensors& tensors_;
  int64_t plane_, channel_;
  View<K, T> whole_;
};

template <class K>
class SourceReader {
 public:
  using A = typename K::A;
  struct Loaded {
    typename K::Values skip, branch;
  };

  // The skip is not read where the gates of all the thread's channels are closed. (Pairs have no
  // register to spare for that.)
  __device__ SourceReader(const Source& s, const Dims& dims, const Table<K>& table, int lane,
                          int64_t channel)
      : branch_(s, s.branch, plane_of(dims), channel) {
    const bool open = K::kPairs || table.any(kAlpha, lane);
    if (s.skip.given && channel < s.skip_channels && open) {
      skip_ = {static_cast<const typename K::T*>(s.skip.data), s.skip_channels, plane_of(dims), channel};
    }
    const int64_t start = low_start(s, dims);
    if (K::kQuads && s.low.given && channel >= start) {
      low_ = {static_cast<const typename K::T*>(s.low.data), s.low_channels, plane_of(dims) / 4,
              channel - start};
    }
  }

  // Pack q of an item; zero where a tensor is absent. `again`: of the branch, see BranchView.
  __device__ Loaded load_pack(const Walk<K>& walk, const Spot<K>& spot, int q, bool again) const {
    const typename K::Pixel pixel = spot.first + walk.offset(q);
    Loaded loaded{{}, branch_.read(spot.n, pixel, again)};
    if (skip_) loaded.skip = load_cs<typename K::Values>(skip_.at(spot.n, pixel));
    return loaded;
  }

  __device__ typename K::LowValues load_low(const Spot<K>& spot) const {
    if (K::kQuads && low_) return load_cs<typename K::LowValues>(low_.at(spot.n, spot.low));
    return {};
  }

  // y, rounded to T.
  __device__ typename K::Values value(const Loaded& loaded, const typename K::LowValues& low,
                                      const Table<K>& table, int lane) const {
    A y[K::kLanes];
#pragma unroll
    for (int first = 0; first < K::kLanes; first += K::kGroup) {
      A alpha[K::kGroupChannels];
      table.read(kAlpha, lane, first, alpha);
#pragma unroll
      for (int i = 0; i < K::kGroup; ++i) {
        const int v = first + i;
        A rest = loaded.branch.get(v);
        if constexpr (K::kQuads) rest += low.get(K::low_of(v));
        y[v] = gate(alpha[K::channel_of(i)], loaded.skip.get(v), rest);
      }
    }
    typename K::Values pack;
    pack.set(y);
    return pack;
  }

 private:
  Input<K> skip_, low_;
  BranchView<K, const typename K::T, const In[kMaxBranches]> branch_;
};

}  // namespace softgate::cuda
