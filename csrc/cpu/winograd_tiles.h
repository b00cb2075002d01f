// The parts that the passes of Winograd's convolution share: the transforms of a row, the tiles of an image,
// and the transform of a tile's inputs. Included like vec.h.

// The transforms of one row of inputs and of results, for the points 0, 1, -1, 2, -2 and infinity.
SG_INLINE void winograd_input(const F32 (&d)[6], F32 (&o)[6]) {
  const F32 a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1];
  const F32 c = d[4] - d[2], e = 2.f * (d[3] - d[1]);
  o[0] = 4.f * d[0] + (d[4] - 5.f * d[2]);
  o[1] = a + b;
  o[2] = a - b;
  o[3] = c + e;
  o[4] = c - e;
  o[5] = 4.f * d[1] + (d[5] - 5.f * d[3]);
}

SG_INLINE void winograd_output(const F32 (&m)[6], F32 (&o)[4]) {
  const F32 a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
  o[0] = m[0] + (a + c);
  o[1] = b + 2.f * d;
  o[2] = a + 4.f * c;
  o[3] = m[5] + (b + 8.f * d);
}

// The transform of one row of weights, its adjoint, and the adjoint of the transform of results.
SG_INLINE void winograd_weight(const F32 (&g)[3], F32 (&o)[6]) {
  const F32 a = (g[0] + g[2]) * (-1.f / 6), b = g[1] * (1.f / 6);
  const F32 c = g[0] * (1.f / 24) + g[2] * (1.f / 6), d = g[1] * (1.f / 12);
  o[0] = g[0] * 0.25f;
  o[1] = a - b;
  o[2] = a + b;
  o[3] = c + d;
  o[4] = c - d;
  o[5] = g[2];
}

SG_INLINE void winograd_weight_adjoint(const F32 (&u)[6], F32 (&o)[3]) {
  const F32 a = u[1] + u[2], b = u[2] - u[1], c = u[3] + u[4], d = u[3] - u[4];
  o[0] = u[0] * 0.25f + (c * (1.f / 24) - a * (1.f / 6));
  o[1] = b * (1.f / 6) + d * (1.f / 12);
  o[2] = u[5] + (c - a) * (1.f / 6);
}

SG_INLINE void winograd_output_adjoint(const F32 (&y)[4], F32 (&o)[6]) {
  const F32 a = y[0] + y[2], b = y[1] + y[3], c = y[0] + 4.f * y[2], d = 2.f * y[1] + 8.f * y[3];
  o[0] = y[0];
  o[1] = a + b;
  o[2] = a - b;
  o[3] = c + d;
  o[4] = c - d;
  o[5] = y[3];
}

constexpr int64_t kWinogradPoints = 36;

SG_INLINE int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

template <class T>
SG_INLINE F32 some_lanes(const T* p, int64_t lanes) {
  return lanes == kLanes<float> ? load(p) : load(p, lanes);
}

// The 4 x 4 tiles of n maps of h x w values. The last tile of a row or column may extend over the border.
struct WinogradTiles {
  int64_t n, h, w;
  int64_t down = (h + 3) / 4, across = (w + 3) / 4, count = n * down * across;

  struct Place {
    int64_t image, y, x;
  };
  Place place(int64_t tile) const {
    const int64_t within = tile % (down * across);
    return {tile / (down * across), within / across * 4, within % across * 4};
  }
};

// The transform of the 6 x 6 inputs of a tile, with scale, shift and ReLU on load if they are given.
template <class T>
struct WinogradInput {
  const WinogradTiles& tiles;
  const T* x;
  int64_t in_channels;
  const float* scale;
  const float* shift;
  int64_t stride;  // in v, from one point to the next

  // Transforms `channels` channels from `first` on, and stores them to v.
  void read(const WinogradTiles::Place& at, int64_t first, int64_t channels, float* v) const {
    const bool inside = at.y > 0 && at.x > 0 && at.y + 5 <= tiles.h && at.x + 5 <= tiles.w;
    const T* corner = x + ((at.image * tiles.h + at.y - 1) * tiles.w + at.x - 1) * in_channels;
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
      const int64_t channel = first + c, lanes = std::min(kLanes<float>, channels - c);
      if (!inside) {
        read_channels<false, false>(at, corner + channel, channel, lanes, v + c);
      } else if (lanes < kLanes<float>) {
        read_channels<true, false>(at, corner + channel, channel, lanes, v + c);
      } else {
        read_channels<true, true>(at, corner + channel, channel, lanes, v + c);
      }
    }
  }

 private:
  template <bool kInside, bool kWhole>
  SG_FORCE void read_channels(const WinogradTiles::Place& at, const T* corner, int64_t channel,
                              int64_t lanes, float* v) const {
    const bool normed = this->scale != nullptr;
    const F32 scale = normed ? some_lanes(this->scale + channel, lanes) : F32{};
    const F32 shift = normed ? some_lanes(this->shift + channel, lanes) : F32{};
    F32 rows[6][6];
    for (int y = 0; y < 6; ++y) {
      F32 d[6];
      for (int x = 0; x < 6; ++x) {
        d[x] = F32{};
        if constexpr (!kInside) {  // the padding is 0 after scale, shift and ReLU, not before
          const int64_t row = at.y + y - 1, column = at.x + x - 1;
          if (row < 0 || row >= tiles.h || column < 0 || column >= tiles.w) continue;
        }
        const T* p = corner + (y * tiles.w + x) * in_channels;
        d[x] = kWhole ? load(p) : some_lanes(p, lanes);
        if (normed) {
          d[x] = d[x] * scale + shift;
          d[x] = relu(d[x]);
        }
      }
      winograd_input(d, rows[y]);
    }
    for (int x = 0; x < 6; ++x) {
      F32 d[6], o[6];
      for (int y = 0; y < 6; ++y) d[y] = rows[y][x];
      winograd_input(d, o);
      for (int y = 0; y < 6; ++y) store(v + (y * 6 + x) * stride, o[y]);
    }
  }
};
