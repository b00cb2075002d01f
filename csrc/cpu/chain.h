// The parts of a call on the CPU that forward and backward share. Included like vec.h.

// Computes y of one unit from its source, and writes it to dst, which is the address of the unit.
template <class T>
class SourceRows {
  using A = Acc<T>;

 public:
  SourceRows(const Source& source, const Dims& dims)
      : s_(source), d_(dims), alpha_(source.skip_channels, A(1)) {
    const A* given = static_cast<const A*>(source.alpha.data);
    for (size_t c = 0; source.alpha.given && c < alpha_.size(); ++c) {
      alpha_[c] = given[source.alpha_shared ? 0 : c];
    }
  }

  // Whether the source is one tensor, which is y itself.
  bool plain() const { return !s_.skip.given && !s_.low.given; }
  const T* plain_data() const { return static_cast<const T*>(s_.branch[0].data); }
  const A* alpha() const { return alpha_.data(); }

  // The addresses of x, f and alpha at the start of a unit whose y is alpha * x + f with a single branch.
  // Such a unit is computed without a buffer.
  struct Direct {
    const T* x;
    const T* f;
    const A* alpha;
  };

  std::optional<Direct> direct(const Unit& u) const {
    if (!s_.skip.given || s_.low.given || s_.branches == 0) return {};
    if (!d_.channels_last) return Direct{skip_at(u), branch_at(u), alpha_.data() + u.channel};
    if (s_.branches != 1) return {};
    return Direct{static_cast<const T*>(s_.skip.data) + u.offset, plain_data() + u.offset,
                  alpha_.data()};
  }

  void write(const Unit& unit, T* dst) const {
    d_.channels_last ? write_pixels(unit, dst) : write_plane(unit, dst);
  }

 private:
  void write_plane(const Unit& u, T* dst) const {
    if (u.channel >= s_.skip_channels) {  // a channel of `low` that is appended to those of the skip
      const T* low = static_cast<const T*>(s_.low.data) + low_offset(u, u.channel - s_.skip_channels);
      for (int64_t i = 0; i < u.len; i += 2 * d_.w, low += d_.w / 2) {
        expand_row(dst + i, low, d_.w / 2);
        std::memcpy(dst + i + d_.w, dst + i, d_.w * sizeof(T));
      }
      return;
    }
    const T* x = skip_at(u);
    const T* f = branch_at(u);
    const A* a = alpha_.data() + u.channel;
    if (!s_.low.given || s_.concat) return gate_row<false, T>(dst, x, a, f, nullptr, u.len);
    T* row = static_cast<T*>(scratch(kExpandSlot, d_.w * sizeof(T)));
    const T* low = static_cast<const T*>(s_.low.data) + low_offset(u, u.channel);
    for (int64_t i = 0; i < u.len; i += 2 * d_.w, low += d_.w / 2) {
      expand_row(row, low, d_.w / 2);
      for (int64_t j = i; j < i + 2 * d_.w; j += d_.w) {
        gate_row<false, T>(dst + j, x + j, a, f ? f + j : nullptr, row, d_.w);
      }
    }
  }

  void write_pixels(const Unit& u, T* dst) const {
    const T* x = static_cast<const T*>(s_.skip.data) + u.pixel * s_.skip_channels;
    for (int64_t r = 0; r < u.rows; ++r, dst += u.len, x += s_.skip_channels) {
      const int64_t pixel = u.pixel + r;
      const T* low = nullptr;
      if (s_.low.given) {
        const int64_t low_pixel = pixel / d_.w / 2 * (d_.w / 2) + pixel % d_.w / 2;
        low = static_cast<const T*>(s_.low.data) + low_pixel * s_.low_channels;
      }
      const T* extra = s_.concat ? nullptr : low;
      if (s_.branches == 0) {
        gate_row<true, T>(dst, x, alpha_.data(), nullptr, extra, s_.skip_channels);
      }
      int64_t c = 0;
      for (int k = 0; k < s_.branches; c += s_.width[k++]) {
        const T* f = static_cast<const T*>(s_.branch[k].data) + pixel * s_.width[k];
        gate_row<true, T>(dst + c, x + c, alpha_.data() + c, f, extra ? extra + c : nullptr,
                          s_.width[k]);
      }
      if (s_.concat && low != nullptr) {
        std::memcpy(dst + s_.skip_channels, low, s_.low_channels * sizeof(T));
      }
    }
  }

  // Contiguous layout: the skip at the unit. If the gate is closed, a buffer of zeros, and x is not read.
  const T* skip_at(const Unit& u) const {
    if (alpha_[u.channel] != A(0)) return at(s_.skip.data, s_.skip_channels, u.channel, u);
    const size_t bytes = u.len * sizeof(T);
    return static_cast<const T*>(std::memset(scratch(kClosedSlot, bytes), 0, bytes));
  }

  // Contiguous layout: the address in the branch that has the unit's channel; null without branches.
  const T* branch_at(const Unit& u) const {
    int64_t first = 0;
    for (int k = 0; k < s_.branches; first += s_.width[k++]) {
      if (u.channel < first + s_.width[k]) {
        return at(s_.branch[k].data, s_.width[k], u.channel - first, u);
      }
    }
    return nullptr;
  }

  const T* at(const void* base, int64_t channels, int64_t channel, const Unit& u) const {
    return static_cast<const T*>(base) + (u.image * channels + channel) * d_.plane() + u.pixel;
  }

  // A unit consists of whole pairs of image rows, so its rows of `low` start at pixel / 4.
  int64_t low_offset(const Unit& u, int64_t channel) const {
    return (u.image * s_.low_channels + channel) * (d_.plane() / 4) + u.pixel / 4;
  }

  static constexpr int kExpandSlot = 2, kClosedSlot = 3;
  const Source& s_;
  const Dims& d_;
  std::vector<A> alpha_;
};

// The per-channel values of the norm in the form of the inner loops.
template <class A>
struct NormVectors {
  NormVectors(const Norm& norm, int64_t channels)
      : scale(channels), bias(channels, A(0)), weight_(norm.weight),
        eps_(norm.eps) {
    if (norm.bias.given) {
      std::copy_n(static_cast<const A*>(norm.bias.data), channels, bias.begin());
    }
  }

  void set(int64_t c, A variance) {
    const double weight = weight_.given ? static_cast<const A*>(weight_.data)[c] : A(1);
    scale[c] = static_cast<A>(weight * reciprocal_std<double>(variance, eps_));
  }

  template <bool kAlong>
  NormParameters<A, kAlong> at(const A* mean, int64_t c) const {
    return {Parameter<A, kAlong>(mean + c), Parameter<A, kAlong>(scale.data() + c),
            Parameter<A, kAlong>(bias.data() + c)};
  }

  std::vector<A> scale, bias;

 private:
  In weight_;
  double eps_;
};

// Runs two passes over the units, with one merge per channel between them. With `by_channel`, both passes
// over the units of one channel run together, so that the second pass finds them in the cache. This needs
// the contiguous layout, and enough channels for all cores.
template <class First, class Merge, class Second>
SG_INLINE void two_passes(const Dims& dims, const Units& units, bool by_channel, const First& first,
                          const Merge& merge, const Second& second) {
  const auto all = [&](const auto& pass) {
    parallel(units.count(), units.capacity(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pass(units.in_memory_order(i));
      stream_fence();
    });
  };
  if (!by_channel) {
    all(first);
    parallel(dims.c, units.per_channel(), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) merge(c);
    });
    all(second);
    return;
  }
  parallel(dims.c, dims.count(), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t from = c * units.per_channel(), to = from + units.per_channel();
      for (int64_t i = from; i < to; ++i) first(units[i]);
      merge(c);
      for (int64_t i = from; i < to; ++i) second(units[i]);
    }
    stream_fence();
  });
}

inline bool by_channel(const Dims& dims) {
  return !dims.channels_last && dims.c >= 4 * at::get_num_threads();
}

template <class T>
bool aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % 64 == 0;
}
