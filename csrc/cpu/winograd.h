// 3x3 convolution by Winograd's F(4x4, 3x3) (Lavin and Gray, CVPR 2016): 36 multiplications for 16
// results where the direct sum takes 144. float32, channels_last. Included like vec.h.
//
// Three steps over a block of tiles that stays in the second-level cache: the transform of 6 x 6 inputs
// a tile, with scale, shift and ReLU on load; a product of matrices for each of the 36 points; the
// transform back to 4 x 4 results. Every result is one sum in the order of the input channels, however
// the tiles are cut into blocks and the blocks given to threads: the bits do not depend on it.

// Rows of the two transforms for the points 0, 1, -1, 2, -2 and infinity.
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

// Weights of a point lie in panels of kWinogradPanel results: [panel][input channel][kWinogradPanel].
#if SG_BYTES == 64
constexpr int kWinogradVectors = 5, kRegisters = 32;
#else
constexpr int kWinogradVectors = 2, kRegisters = 16;
#endif
constexpr int64_t kVectorsOfPanel = kWinogradPanel / kLanes<float>;

// c[r][n] = sum over k of a[r][k] * b[k][n]: R rows of N vectors in registers, as many as leave some for
// a row of b and a value of a. N vectors are of one panel, or of a panel each. Of the last one V lanes are
// computed: half of them where no more are wanted, which costs half where 512 bits take two turns.
template <int R, int N, class V>
SG_INLINE void winograd_product(const float* a, int64_t lda, const float* b, float* c, int64_t ldc,
                                int64_t depth) {
  const int64_t next = kVectorsOfPanel == 1 ? depth * kWinogradPanel : kLanes<float>;
  F32 sum[R][N] = {};  // the last column is in tail
  V tail[R] = {};
  for (int64_t k = 0; k < depth; ++k) {
    F32 row[N];
    V last;
    for (int n = 0; n < N - 1; ++n) row[n] = load(b + k * kWinogradPanel + n * next);
    __builtin_memcpy(&last, b + k * kWinogradPanel + (N - 1) * next, sizeof last);
    for (int r = 0; r < R; ++r) {
      const float value = a[r * lda + k];
      for (int n = 0; n < N - 1; ++n) sum[r][n] += splat<F32>(value) * row[n];
      tail[r] += splat<V>(value) * last;
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N - 1; ++n) store(c + r * ldc + n * kLanes<float>, sum[r][n]);
    __builtin_memcpy(c + r * ldc + (N - 1) * kLanes<float>, &tail[r], sizeof(V));
  }
}

template <int R, int N, class V>
void winograd_rows(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t rows,
                   int64_t depth) {
  for (; rows >= R; rows -= R, a += R * lda, c += R * ldc) {
    winograd_product<R, N, V>(a, lda, b, c, ldc, depth);
  }
  if constexpr (R > 1) {
    if (rows > 0) winograd_rows<R / 2, N, V>(a, lda, b, c, ldc, rows, depth);
  }
}

typedef float HalfF32 __attribute__((vector_size(SG_BYTES / 2)));

// The products that fill `width` lanes of c, of at most N vectors.
template <int N = kWinogradVectors>
void winograd_columns(int64_t width, const float* a, int64_t lda, const float* b, float* c, int64_t ldc,
                      int64_t rows, int64_t depth) {
  if (width <= (N - 1) * kLanes<float>) {
    if constexpr (N > 1) winograd_columns<N - 1>(width, a, lda, b, c, ldc, rows, depth);
    return;
  }
  constexpr int R = (kRegisters - N - 1) / N;
  if (SG_BYTES == 64 && width <= N * kLanes<float> - kLanes<float> / 2) {
    winograd_rows<R, N, HalfF32>(a, lda, b, c, ldc, rows, depth);
  } else {
    winograd_rows<R, N, F32>(a, lda, b, c, ldc, rows, depth);
  }
}

class WinogradPass {
 public:
  explicit WinogradPass(const Winograd& args)
      : a_(args),
        depth_(args.in_channels / args.groups),
        width_(args.out_channels / args.groups),
        together_(groups_together()),
        weights_(round_up(width_, kWinogradPanel) * depth_),
        v_row_(round_up(together_ * depth_, kLanes<float>)),
        m_row_(round_up((together_ - 1) * width_ + round_up(width_, kLanes<float>), kLanes<float>)),
        down_((args.h + 3) / 4),
        across_((args.w + 3) / 4),
        tiles_(args.n * down_ * across_) {
    // A block's transformed inputs and results share the cache with the weights of one point.
    const int64_t bytes = 36 * sizeof(float) * (v_row_ + m_row_);
    const int64_t most = std::max<int64_t>(1, second_level_cache() / bytes);
    const int64_t shares = std::max<int64_t>(1, at::get_num_threads() * together_ / args.groups);
    const int64_t blocks = round_up((tiles_ + most - 1) / most, shares);
    block_ = (tiles_ + blocks - 1) / blocks;
    blocks_ = (tiles_ + block_ - 1) / block_;
  }

  void run() const {
    at::parallel_for(0, blocks_ * (a_.groups / together_), 1, [&](int64_t begin, int64_t end) {
      const int64_t points = 36 * block_;
      float* const v =
          static_cast<float*>(scratch(0, points * (v_row_ + m_row_) * sizeof(float)));
      float* const m = v + points * v_row_;
      for (int64_t i = begin; i < end; ++i) {
        block(i / blocks_ * together_, i % blocks_ * block_, v, m);
      }
    });
  }

 private:
  static int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

  // The transforms know no groups: as few are taken together as fill whole vectors of x.
  int64_t groups_together() const {
    int64_t count = 1;
    while (count < a_.groups && (a_.groups % count || count * depth_ % kLanes<float>)) ++count;
    return count;
  }

  struct Place {
    int64_t image, y, x;
  };
  Place place(int64_t tile) const {
    const int64_t within = tile % (down_ * across_);
    return {tile / (down_ * across_), within / across_ * 4, within % across_ * 4};
  }

  void block(int64_t group, int64_t first, float* v, float* m) const {
    const int64_t count = std::min(block_, tiles_ - first);
    for (int64_t t = 0; t < count; ++t) read(group, place(first + t), v + t * v_row_);
    for (int64_t p = 0; p < 36; ++p) {
      // In ascending order: the last vector of a group reaches into the results of the next.
      for (int64_t g = 0; g < together_; ++g) {
        products(a_.weight + ((group + g) * 36 + p) * weights_, v + p * block_ * v_row_ + g * depth_,
                 m + p * block_ * m_row_ + g * width_, count);
      }
    }
    for (int64_t t = 0; t < count; ++t) write(group, place(first + t), m + t * m_row_);
  }

  void products(const float* weight, const float* v, float* m, int64_t count) const {
    for (int64_t i = 0; i < width_; i += kWinogradVectors * kLanes<float>) {
      winograd_columns(std::min(kWinogradVectors * kLanes<float>, width_ - i), v, v_row_,
                       weight + i / kWinogradPanel * depth_ * kWinogradPanel + i % kWinogradPanel,
                       m + i, m_row_, count, depth_);
    }
  }

  void read(int64_t group, const Place& at, float* v) const {
    const bool inside = at.y > 0 && at.x > 0 && at.y + 5 <= a_.h && at.x + 5 <= a_.w;
    const float* corner = a_.x + ((at.image * a_.h + at.y - 1) * a_.w + at.x - 1) * a_.in_channels;
    const int64_t channels = together_ * depth_;
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
      const int64_t channel = group * depth_ + c, lanes = std::min(kLanes<float>, channels - c);
      if (!inside) {
        read_channels<false, false>(at, corner + channel, channel, lanes, v + c);
      } else if (lanes < kLanes<float>) {
        read_channels<true, false>(at, corner + channel, channel, lanes, v + c);
      } else {
        read_channels<true, true>(at, corner + channel, channel, lanes, v + c);
      }
    }
  }

  static F32 some(const float* p, int64_t lanes) {
    return lanes == kLanes<float> ? load(p) : load(p, lanes);
  }

  template <bool kInside, bool kWhole>
  SG_FORCE void read_channels(const Place& at, const float* corner, int64_t channel, int64_t lanes,
                              float* v) const {
    const bool normed = a_.scale != nullptr;
    const F32 scale = normed ? some(a_.scale + channel, lanes) : F32{};
    const F32 shift = normed ? some(a_.shift + channel, lanes) : F32{};
    F32 rows[6][6];
    for (int y = 0; y < 6; ++y) {
      F32 d[6];
      for (int x = 0; x < 6; ++x) {
        d[x] = F32{};
        if constexpr (!kInside) {  // the border is 0 behind the ReLU, not before
          const int64_t row = at.y + y - 1, column = at.x + x - 1;
          if (row < 0 || row >= a_.h || column < 0 || column >= a_.w) continue;
        }
        const float* p = corner + (y * a_.w + x) * a_.in_channels;
        d[x] = kWhole ? load(p) : some(p, lanes);
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
      for (int y = 0; y < 6; ++y) store(v + (y * 6 + x) * block_ * v_row_, o[y]);
    }
  }

  void write(int64_t group, const Place& at, const float* m) const {
    const int64_t channels = together_ * width_;
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
      F32 rows[6][4];
      for (int y = 0; y < 6; ++y) {
        F32 d[6];
        for (int x = 0; x < 6; ++x) d[x] = load(m + (y * 6 + x) * block_ * m_row_ + c);
        winograd_output(d, rows[y]);
      }
      const int64_t lanes = std::min(kLanes<float>, channels - c);
      const F32 bias = a_.bias == nullptr ? F32{} : some(a_.bias + group * width_ + c, lanes);
      float* const corner = a_.y + ((at.image * a_.h + at.y) * a_.w + at.x) * a_.out_channels +
                            group * width_ + c;
      for (int x = 0; x < 4 && at.x + x < a_.w; ++x) {
        F32 d[6], o[4];
        for (int y = 0; y < 6; ++y) d[y] = rows[y][x];
        winograd_output(d, o);
        for (int y = 0; y < 4 && at.y + y < a_.h; ++y) {
          float* const p = corner + (y * a_.w + x) * a_.out_channels;
          lanes == kLanes<float> ? store(p, o[y] + bias) : store(p, o[y] + bias, lanes);
        }
      }
    }
  }

  const Winograd& a_;
  int64_t depth_, width_, together_, weights_, v_row_, m_row_, down_, across_, tiles_, block_, blocks_;
};
