// The backward of the source: the gradients of the skip, the branches, `low` and the gate (alpha). Included
// like vec.h.

// Writes these gradients from d, the complete gradient of y, unit by unit.
template <class T>
class SinkRows {
  using A = Acc<T>;
  using V = Vec<T>;
  using W = Wide<V>;

 public:
  SinkRows(const Backward& args, const SourceRows<T>& source, const Units& units, bool stream)
      : a_(args), s_(args.source), d_(args.dims), source_(source), units_(units), stream_(stream) {
    if (args.dalpha.given) {
      dalpha_.reset(new double[units.count() * (d_.channels_last ? s_.skip_channels : 1)]);
    }
  }

  void write(const Unit& u, const A* d) {
    d_.channels_last ? write_pixels(u, d) : write_plane(u, d);
  }

  // Sums the gradient of alpha, after all units are written.
  void merge_dalpha() const {
    if (!a_.dalpha.given) return;
    A* out = static_cast<A*>(a_.dalpha.data);
    const int64_t step = d_.channels_last ? s_.skip_channels : 1;
    parallel(s_.skip_channels, units_.per_channel(), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const double* first = dalpha_.get() + (d_.channels_last ? c : c * units_.per_channel());
        double sum = 0;
        for (int64_t i = 0; i < units_.per_channel(); ++i) sum += first[i * step];
        out[c] = static_cast<A>(sum);
      }
    });
  }

 private:
  void write_plane(const Unit& u, const A* d) {
    const bool appended = u.channel >= s_.skip_channels && s_.low_channels > 0;
    if (a_.dlow.given && (appended || !s_.concat)) {
      const int64_t channel = u.channel - (appended ? s_.skip_channels : 0);
      T* low = static_cast<T*>(a_.dlow.data) +
               (u.image * s_.low_channels + channel) * (d_.plane() / 4) + u.pixel / 4;
      for (int64_t i = 0; i < u.len; i += 2 * d_.w, low += d_.w / 2) {
        fold_row(low, d + i, d + i + d_.w, d_.w / 2);
      }
    }
    if (appended) return;
    if (a_.dskip.given) {
      put_row<false>(at(a_.dskip, s_.skip_channels, u.channel, u), d, source_.alpha() + u.channel,
                     u.len);
    }
    int64_t first = 0;
    for (int k = 0; k < s_.branches; first += s_.width[k++]) {
      if (u.channel >= first + s_.width[k]) continue;
      static const A kOne = 1;
      if (a_.dbranch[k].given) {
        put_row<false>(at(a_.dbranch[k], s_.width[k], u.channel - first, u), d, &kOne, u.len);
      }
      break;
    }
    if (!a_.dalpha.given) return;
    const T* x = static_cast<const T*>(s_.skip.data) +
                 (u.image * s_.skip_channels + u.channel) * d_.plane() + u.pixel;
    const auto product = [&](V(&s)[1], int64_t i, auto m) SG_LAMBDA {
      s[0] += load(x + i, m) * load(d + i, m);
    };
    const int64_t whole = u.len / kLanes<T>, rest = u.len % kLanes<T>;
    W sums[1], last[1] = {};
    sum_rows<V>(sums, whole, kLanes<T>, Full{}, product);
    if (rest > 0) {
      const auto behind = [&](V(&s)[1], int64_t, Part m) SG_LAMBDA { product(s, u.len - rest, m); };
      sum_rows<V>(last, 1, 0, Part{rest}, behind);
    }
    dalpha_[u.index] = horizontal_sum(sums[0] + last[0]);
  }

  void write_pixels(const Unit& u, const A* d) {
    if (a_.dskip.given) {
      block(a_.dskip.data, s_.skip_channels, 0, u, d, source_.alpha());
    }
    int64_t c = 0;
    for (int k = 0; k < s_.branches; c += s_.width[k++]) {
      if (a_.dbranch[k].given) block(a_.dbranch[k].data, s_.width[k], c, u, d, nullptr);
    }
    if (a_.dlow.given) fold_pixels(u, d + (s_.concat ? s_.skip_channels : 0));
    if (!a_.dalpha.given) return;
    const T* x = static_cast<const T*>(s_.skip.data) + u.pixel * s_.skip_channels;
    double* out = dalpha_.get() + u.index * s_.skip_channels;
    sweep<T>(s_.skip_channels, [&](int64_t i, auto m) SG_LAMBDA {
      W sums[1];
      sum_rows<V>(sums, u.rows, 1, m, [&](V(&s)[1], int64_t r, auto mask) SG_LAMBDA {
        s[0] += load(x + r * s_.skip_channels + i, mask) * load(d + r * u.len + i, mask);
      });
      store_sums(out + i, sums[0], m);
    });
  }

  // Writes the channels [first, first + width) of all pixels of the unit, times alpha if given. Streamed
  // stores go through a buffer, because the channels of one pixel seldom end on a cache line, but those of
  // the unit do.
  void block(void* base, int64_t width, int64_t first, const Unit& u, const A* d, const A* alpha) {
    T* out = static_cast<T*>(base) + u.pixel * width;
    const bool through = stream_ && aligned(out);
    T* place = through ? static_cast<T*>(scratch(kBlockSlot, u.rows * width * sizeof(T))) : out;
    for (int64_t r = 0; r < u.rows; ++r) {
      const A* from = d + r * u.len + first;
      T* to = place + r * width;
      if (alpha != nullptr) {
        sweep<T>(width, [&](int64_t i, auto m) SG_LAMBDA {
          store(to + i, load(alpha + i, m) * load(from + i, m), m);
        });
      } else {
        sweep<T>(width, [&](int64_t i, auto m) SG_LAMBDA { store(to + i, load(from + i, m), m); });
      }
    }
    if (through) stream_copy(out, place, u.rows * width);
  }

  void fold_pixels(const Unit& u, const A* d) {
    const int64_t low_w = d_.w / 2, row = d_.w * u.len;
    for (int64_t r = 0; r < u.rows; r += 2 * d_.w) {
      T* low = static_cast<T*>(a_.dlow.data) + (u.pixel + r) / 4 * s_.low_channels;
      for (int64_t j = 0; j < low_w; ++j, low += s_.low_channels) {
        const A* upper = d + (r + 2 * j) * u.len;
        sweep<T>(s_.low_channels, [&](int64_t i, auto m) SG_LAMBDA {
          const A* p = upper + i;
          store(low + i,
                (load(p, m) + load(p + u.len, m)) + (load(p + row, m) + load(p + row + u.len, m)),
                m);
        });
      }
    }
  }

  template <bool kAlong>
  void put_row(T* out, const A* d, const A* alpha, int64_t len) {
    const Parameter<A, kAlong> a(alpha);
    const bool streamed = stream_ && aligned(out);
    sweep<T>(len, [&](int64_t i, auto m) SG_LAMBDA {
      const V v = get(a, i, m) * load(d + i, m);
      if constexpr (std::is_same_v<decltype(m), Full>) {
        if (streamed) return stream(out + i, v);
      }
      store(out + i, v, m);
    });
  }

  T* at(const Out& t, int64_t channels, int64_t channel, const Unit& u) const {
    return static_cast<T*>(t.data) + (u.image * channels + channel) * d_.plane() + u.pixel;
  }

  static constexpr int kBlockSlot = 1;
  const Backward& a_;
  const Source& s_;
  const Dims& d_;
  const SourceRows<T>& source_;
  const Units& units_;
  bool stream_;
  std::unique_ptr<double[]> dalpha_;
};
