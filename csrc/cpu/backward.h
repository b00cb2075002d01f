// The backward: sums over each channel, then the gradients. Included like vec.h.
//
// Memory traffic, with e the bytes of one activation: 6e if the units of a channel stay in the second-level
// cache between the two passes (contiguous layout: dz, y, dy, x are read, dx and df written), else 8e.

// The sums of g and of g * (y - mean) for each unit. They are stored and merged in double, in unit order.
template <class T>
class BatchSums {
  using A = Acc<T>;
  using V = Vec<T>;
  using W = Wide<V>;

 public:
  BatchSums(const Dims& dims, const Units& units)
      : dims_(dims), units_(units), width_(dims.channels_last ? dims.c : 1),
        g_(new double[units.count() * width_]), gy_(new double[units.count() * width_]) {}

  void measure(const Unit& u, const T* dz, const T* y, const A* mean, const NormVectors<A>& norm,
               bool with_relu) {
    double* g = g_.get() + u.index * width_;
    double* gy = gy_.get() + u.index * width_;
    const auto run = [&](auto rectify) SG_LAMBDA {
      constexpr bool kRelu = decltype(rectify)::value;
      if (dims_.channels_last) {
        const auto p = norm.template at<true>(mean, 0);
        sweep<T>(u.len, [&](int64_t i, auto m) SG_LAMBDA {
          W sums[2];
          add<kRelu>(sums, dz + i, y + i, u.rows, u.len, m, get(p.mean, i, m), get(p.scale, i, m),
                     get(p.bias, i, m));
          store_sums(g + i, sums[0], m);
          store_sums(gy + i, sums[1], m);
        });
        return;
      }
      const auto p = norm.template at<false>(mean, u.channel);
      const int64_t whole = u.len / kLanes<T>, rest = u.len % kLanes<T>;
      W sums[2], last[2] = {};
      add<kRelu>(sums, dz, y, whole, kLanes<T>, Full{}, p.mean.one, p.scale.one, p.bias.one);
      if (rest > 0) {  // dz is read as zero beyond the row, so g is zero there
        add<kRelu>(last, dz + whole * kLanes<T>, y + whole * kLanes<T>, 1, 0, Part{rest},
                   p.mean.one, p.scale.one, p.bias.one);
      }
      *g = horizontal_sum(sums[0] + last[0]);
      *gy = horizontal_sum(sums[1] + last[1]);
    };
    with_relu ? run(std::true_type{}) : run(std::false_type{});
  }

  std::pair<double, double> merge(int64_t channel) const {
    const int64_t first = dims_.channels_last ? 0 : channel * units_.per_channel();
    const int64_t offset = dims_.channels_last ? channel : 0;
    double g = 0, gy = 0;
    for (int64_t i = 0; i < units_.per_channel(); ++i) {
      g += g_[(first + i) * width_ + offset];
      gy += gy_[(first + i) * width_ + offset];
    }
    return {g, gy};
  }

 private:
  template <bool kRelu, class M>
  static SG_FORCE void add(W (&sums)[2], const T* dz, const T* y, int64_t rows, int64_t stride,
                           M mask, V mean, V scale, V bias) {
    sum_rows<V>(sums, rows, stride, mask, [&](V(&s)[2], int64_t at, M m) SG_LAMBDA {
      const V value = load(y + at, m);
      V g = load(dz + at, m);
      if constexpr (kRelu) g = relu_grad(g, pre_activation(value, mean, scale, bias));
      s[0] += g;
      s[1] += g * (value - mean);
    });
  }

  const Dims& dims_;
  const Units& units_;
  int64_t width_;
  std::unique_ptr<double[]> g_, gy_;
};

template <class T>
class BackwardPass {
  using A = Acc<T>;
  using V = Vec<T>;

 public:
  explicit BackwardPass(const Backward& args)
      : a_(args), d_(args.dims), source_(args.source, args.dims),
        units_(args.dims, args.source.low_channels > 0),
        stream_(exceeds_caches(2 * d_.count() * d_.c * int64_t(sizeof(T)))),
        sink_(args, source_, units_, stream_), norm_(args.norm, d_.c), mean_g_(d_.c), slope_(d_.c) {}

  void run() {
    const bool sums = a_.dz.given && (a_.norm.training || a_.dweight.given || a_.dbias.given);
    if (a_.dz.given) {
      for (int64_t c = 0; c < d_.c; ++c) norm_.set(c, static_cast<const A*>(a_.var.data)[c]);
    }
    const auto apply = [&](const Unit& u) {
      A* d = static_cast<A*>(scratch(kGradientSlot, units_.capacity() * sizeof(A)));
      gradient(u, d);
      sink_.write(u, d);
    };
    if (sums) {
      BatchSums<T> batch(d_, units_);
      two_passes(
          d_, units_, by_channel(d_),
          [&](const Unit& u) {
            batch.measure(u, data(a_.dz) + u.offset, data(a_.y) + u.offset, mean(), norm_,
                          a_.norm.relu);
          },
          [&](int64_t c) { finish(c, batch.merge(c)); }, apply);
    } else {
      parallel(units_.count(), units_.capacity(), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) apply(units_.in_memory_order(i));
        stream_fence();
      });
    }
    sink_.merge_dalpha();
  }

 private:
  static const T* data(const In& t) { return static_cast<const T*>(t.data); }
  const A* mean() const { return static_cast<const A*>(a_.mean.data); }

  void finish(int64_t c, std::pair<double, double> sums) {
    const double variance = static_cast<const A*>(a_.var.data)[c] + a_.norm.eps;
    if (a_.dbias.given) static_cast<A*>(a_.dbias.data)[c] = static_cast<A>(sums.first);
    if (a_.dweight.given) {
      static_cast<A*>(a_.dweight.data)[c] = static_cast<A>(sums.second / std::sqrt(variance));
    }
    if (!a_.norm.training) return;
    mean_g_[c] = static_cast<A>(sums.first / d_.count());
    slope_[c] = static_cast<A>(sums.second / (d_.count() * variance));
  }

  // Computes d = dy + batch_norm'(relu'(dz)) of one unit.
  void gradient(const Unit& u, A* d) {
    const T* dy = a_.dy.given ? data(a_.dy) + u.offset : nullptr;
    if (!a_.dz.given) {
      sweep<T>(u.size(), [&](int64_t i, auto m) SG_LAMBDA { store(d + i, load(dy + i, m), m); });
      return;
    }
    const T* dz = data(a_.dz) + u.offset;
    const T* y = data(a_.y) + u.offset;
    const bool training = a_.norm.training;
    const auto rows = [&](auto along, auto rectify, auto further) SG_LAMBDA {
      constexpr bool kAlong = decltype(along)::value;
      const auto p = norm_.template at<kAlong>(mean(), u.channel);
      const Parameter<A, kAlong> mean_g(mean_g_.data() + u.channel);
      const Parameter<A, kAlong> slope(slope_.data() + u.channel);
      for (int64_t r = 0; r < u.size(); r += u.len) {
        sweep<T>(u.len, [&](int64_t i, auto m) SG_LAMBDA {
          const V value = load(y + r + i, m), centre = get(p.mean, i, m), scale = get(p.scale, i, m);
          V g = load(dz + r + i, m);
          if constexpr (decltype(rectify)::value) {
            g = relu_grad(g, pre_activation(value, centre, scale, get(p.bias, i, m)));
          }
          V sum = scale * g;  // in evaluation, which must not depend on y: y may be infinite
          if (training) sum = norm_grad(g, value, centre, scale, get(mean_g, i, m), get(slope, i, m));
          if constexpr (decltype(further)::value) sum += load(dy + r + i, m);
          store(d + r + i, sum, m);
        });
      }
    };
    const auto with_relu = [&](auto along, auto rectify) SG_LAMBDA {
      a_.dy.given ? rows(along, rectify, std::true_type{}) : rows(along, rectify, std::false_type{});
    };
    const auto with_layout = [&](auto along) SG_LAMBDA {
      a_.norm.relu ? with_relu(along, std::true_type{}) : with_relu(along, std::false_type{});
    };
    d_.channels_last ? with_layout(std::true_type{}) : with_layout(std::false_type{});
  }

  static constexpr int kGradientSlot = 0;
  const Backward& a_;
  const Dims& d_;
  SourceRows<T> source_;
  Units units_;
  bool stream_;
  SinkRows<T> sink_;
  NormVectors<A> norm_;
  std::vector<A> mean_g_, slope_;
};
