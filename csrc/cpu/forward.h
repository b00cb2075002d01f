// The forward: in training two passes, the statistics and then the normalisation; else one pass.
// Included like vec.h.
//
// Memory traffic, with e the bytes of one activation: 4e in evaluation (x, f, y, z). In training 4e if the
// units of a channel stay in the second-level cache between the passes (contiguous layout), else 5e.

// The mean and the sum of squared deviations of each unit. The mean is computed first, then the deviations
// from it; their sum corrects the rounding of the mean. They are stored and merged in double, in unit
// order, because a mean rounded to float would make the variance inaccurate if |mean| >> std.
template <class T>
class BatchStatistics {
  using A = Acc<T>;
  using V = Vec<T>;
  using W = Wide<V>;

 public:
  BatchStatistics(const Dims& dims, const Units& units)
      : dims_(dims), units_(units), width_(dims.channels_last ? dims.c : 1),
        mean_(new double[units.count() * width_]), m2_(new double[units.count() * width_]) {}

  void measure(const Unit& u, const T* y) {
    double* mean = mean_.get() + u.index * width_;
    double* m2 = m2_.get() + u.index * width_;
    if (dims_.channels_last) {
      sweep<T>(u.len, [&](int64_t i, auto m) SG_LAMBDA {
        const auto [column_mean, column_m2] =
            moments(y + i, u.rows, u.len, m, 1.0 / u.rows, [](W w) SG_LAMBDA { return w; });
        store_sums(mean + i, column_mean, m);
        store_sums(m2 + i, column_m2, m);
      });
      return;
    }
    // One channel: whole vectors are rows of lanes, and the remaining values are merged one by one.
    const int64_t whole = u.len / kLanes<T>, rest = u.len % kLanes<T>;
    Moments<double> all{0, 0, 0};
    if (whole > 0) {
      const double count = whole * kLanes<T>;
      const auto [lane_mean, lane_m2] =
          moments(y, whole, kLanes<T>, Full{}, 1 / count,
                  [](W w) SG_LAMBDA { return splat<W>(horizontal_sum(w)); });
      all = {count, lane_mean[0], lane_m2[0]};
    }
    for (int64_t i = u.len - rest; i < u.len; ++i) all = all.merged({1, static_cast<double>(y[i]), 0});
    *mean = all.mean;
    *m2 = all.m2;
  }

  void merge(int64_t channel, A& mean, A& var) const {
    const int64_t first = dims_.channels_last ? 0 : channel * units_.per_channel();
    const int64_t offset = dims_.channels_last ? channel : 0;
    double sum = 0;
    for (int64_t i = 0; i < units_.per_channel(); ++i) {
      sum += double(units_.values(i)) * mean_[(first + i) * width_ + offset];
    }
    const double centre = sum / dims_.count();
    double m2 = 0;
    for (int64_t i = 0; i < units_.per_channel(); ++i) {
      const int64_t at = (first + i) * width_ + offset;
      const double delta = mean_[at] - centre;
      m2 += m2_[at] + double(units_.values(i)) * delta * delta;
    }
    mean = static_cast<A>(centre);
    var = static_cast<A>(m2 < 0 ? 0 : m2 / dims_.count());  // rounding may make m2 negative
  }

 private:
  template <class M, class Reduce>
  static SG_FORCE std::pair<W, W> moments(const T* y, int64_t rows, int64_t stride, M mask,
                                          double inverse_count, const Reduce& reduce) {
    W total[1], deviation[2];
    sum_rows<V>(total, rows, stride, mask, [&](V(&s)[1], int64_t at, M m) SG_LAMBDA {
      s[0] += load(y + at, m);
    });
    const V mean = __builtin_convertvector(reduce(total[0]) * inverse_count, V);
    sum_rows<V>(deviation, rows, stride, mask, [&](V(&s)[2], int64_t at, M m) SG_LAMBDA {
      const V d = load(y + at, m) - mean;
      s[0] += d;
      s[1] += d * d;
    });
    const W left = reduce(deviation[0]) * inverse_count;
    // If squares overflow, the variance must be infinite, and not NaN from infinity minus infinity.
    const W most = splat<W>(std::numeric_limits<double>::max());
    const W square = left * (left / inverse_count);
    return {__builtin_convertvector(mean, W) + left,
            reduce(deviation[1]) - (square < most ? square : most)};
  }

  const Dims& dims_;
  const Units& units_;
  int64_t width_;
  std::unique_ptr<double[]> mean_, m2_;
};

template <class T>
class ForwardPass {
  using A = Acc<T>;

 public:
  explicit ForwardPass(const Forward& args)
      : a_(args), d_(args.dims), source_(args.source, args.dims),
        units_(args.dims, args.source.low.given), y_(static_cast<T*>(args.y.data)),
        z_(static_cast<T*>(args.z.data)) {
    const int64_t row = d_.channels_last ? d_.c : d_.plane();
    const int64_t outputs = args.y.given + args.z.given;
    stream_ = exceeds_caches(outputs * d_.count() * d_.c * int64_t(sizeof(T))) &&
              row % kLanes<T> == 0 && units_.capacity() % kLanes<T> == 0 && aligned(y_) &&
              aligned(z_);
  }

  void run() {
    if (!a_.z.given) return each_unit([&](const Unit& u) { write_only(u); });
    NormVectors<A> norm(a_.norm, d_.c);
    if (a_.norm.training) return run_training(norm);
    for (int64_t c = 0; c < d_.c; ++c) norm.set(c, static_cast<const A*>(a_.var.data)[c]);
    each_unit([&](const Unit& u) {
      if (const auto direct = source_.direct(u)) {
        return gate_and_normalise(u, norm, *direct);
      }
      const bool through = stream_ && a_.y.given;
      const T* y = source_y(u, through);
      normalise(u, norm, y, through ? y_ + u.offset : nullptr);
    });
  }

 private:
  template <class F>
  void each_unit(const F& f) {
    parallel(units_.count(), units_.capacity(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f(units_.in_memory_order(i));
      stream_fence();
    });
  }

  void run_training(NormVectors<A>& norm) {
    A* mean = static_cast<A*>(a_.mean.data);
    A* var = static_cast<A*>(a_.var.data);
    BatchStatistics<T> statistics(d_, units_);
    const bool together = by_channel(d_);
    // Streamed stores bypass the caches, so y of a whole channel is kept in a buffer for the second pass.
    const int64_t channel_bytes = d_.count() * sizeof(T);
    const bool held = stream_ && together && a_.y.given && channel_bytes <= kHeldBytes;
    const auto held_y = [&](const Unit& u) {
      return static_cast<T*>(scratch(kChannelSlot, channel_bytes)) + u.image * d_.plane() + u.pixel;
    };
    two_passes(
        d_, units_, together,
        [&](const Unit& u) {
          if (held) {
            source_.write(u, held_y(u));
            return statistics.measure(u, held_y(u));
          }
          const bool through = stream_ && a_.y.given;
          const T* y = source_y(u, through);
          statistics.measure(u, y);
          if (through) stream_copy(y_ + u.offset, y, u.size());
        },
        [&](int64_t c) {
          statistics.merge(c, mean[c], var[c]);
          norm.set(c, var[c]);
        },
        [&](const Unit& u) {
          if (held) return normalise(u, norm, held_y(u), y_ + u.offset);
          const T* y = source_.plain() ? source_.plain_data() : y_;
          normalise(u, norm, y + u.offset, nullptr);
        });
  }

  void write_only(const Unit& u) {
    if (const auto direct = source_.direct(u); stream_ && direct) {
      return gate_and_stream(u, *direct);
    }
    T* place = stream_ ? unit_scratch() : y_ + u.offset;
    source_.write(u, place);
    if (stream_) stream_copy(y_ + u.offset, place, u.size());
  }

  void gate_and_stream(const Unit& u, const typename SourceRows<T>::Direct& direct) {
    const auto rows = [&](auto along) SG_LAMBDA {
      const Parameter<A, decltype(along)::value> alpha(direct.alpha);
      for (int64_t r = 0; r < u.size(); r += u.len) {
        sweep<T>(u.len, [&](int64_t i, auto m) SG_LAMBDA {
          put<true>(y_ + u.offset + r + i,
                    gate(get(alpha, i, m), load(direct.x + r + i, m), load(direct.f + r + i, m)), m);
        });
      }
    };
    d_.channels_last ? rows(std::true_type{}) : rows(std::false_type{});
  }

  // The address of y of the unit: the source itself, its place in the result, or a buffer (`through`).
  const T* source_y(const Unit& u, bool through) {
    if (source_.plain()) return source_.plain_data() + u.offset;
    T* place = through ? unit_scratch() : y_ + u.offset;
    source_.write(u, place);
    return place;
  }

  T* unit_scratch() { return static_cast<T*>(scratch(kUnitSlot, units_.capacity() * sizeof(T))); }

  // Calls f(along, streamed) with the two properties that all rows of the call share.
  template <class F>
  void by_row_kind(const F& f) const {
    using Yes = std::true_type;
    using No = std::false_type;
    if (d_.channels_last) {
      stream_ ? f(Yes{}, Yes{}) : f(Yes{}, No{});
    } else {
      stream_ ? f(No{}, Yes{}) : f(No{}, No{});
    }
  }

  void normalise(const Unit& u, const NormVectors<A>& norm, const T* y, T* y_out) {
    by_row_kind([&](auto along, auto streamed) SG_LAMBDA {
      constexpr bool kAlong = decltype(along)::value, kStream = decltype(streamed)::value;
      const auto p = norm.template at<kAlong>(static_cast<const A*>(a_.mean.data), u.channel);
      for (int64_t r = 0; r < u.size(); r += u.len) {
        normalise_row<kAlong, kStream>(
            z_ + u.offset + r, y_out ? y_out + r : nullptr, p, a_.norm.relu, u.len,
            [row = y + r](int64_t i, auto m) SG_LAMBDA { return load(row + i, m); });
      }
    });
  }

  void gate_and_normalise(const Unit& u, const NormVectors<A>& norm,
                          const typename SourceRows<T>::Direct& direct) {
    by_row_kind([&](auto along, auto streamed) SG_LAMBDA {
      constexpr bool kAlong = decltype(along)::value, kStream = decltype(streamed)::value;
      const auto p = norm.template at<kAlong>(static_cast<const A*>(a_.mean.data), u.channel);
      const Parameter<A, kAlong> alpha(direct.alpha);
      for (int64_t r = 0; r < u.size(); r += u.len) {
        const T* x = direct.x + r;
        const T* f = direct.f + r;
        normalise_row<kAlong, kStream>(
            z_ + u.offset + r, y_ + u.offset + r, p, a_.norm.relu, u.len,
            [&](int64_t i, auto m) SG_LAMBDA {
              return rounded(gate(get(alpha, i, m), load(x + i, m), load(f + i, m)), x);
            });
      }
    });
  }

  static constexpr int kUnitSlot = 0, kChannelSlot = 1;
  static constexpr int64_t kHeldBytes = 512 * 1024;  // half of a common second-level cache

  const Forward& a_;
  const Dims& d_;
  SourceRows<T> source_;
  Units units_;
  T* y_;
  T* z_;
  bool stream_;
};
