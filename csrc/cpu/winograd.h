// The 3x3 convolution by Winograd's F(4x4, 3x3) (Lavin and Gray, CVPR 2016), in channels_last. It takes 36
// multiplications for 16 results; the direct sum takes 144. Activations are stored as T, float or BFloat16,
// and everything else is float32. Included like vec.h.
//
// There are three steps over a block of tiles that stays in the second-level cache: the transform of the
// 6 x 6 inputs of each tile, with scale, shift and ReLU on load; a matrix product for each of the 36 points;
// and the transform back to 4 x 4 results. Every result is one sum in the order of the input channels. Its
// bits do not depend on how tiles are divided into blocks and blocks among threads.

// The weights of a point are stored in panels of kWinogradPanel output channels:
// [panel][input channel][kWinogradPanel].
#if SG_BYTES == 64
constexpr int kWinogradVectors = 5, kRegisters = 32;
#else
constexpr int kWinogradVectors = 2, kRegisters = 16;
#endif
constexpr int64_t kVectorsOfPanel = kWinogradPanel / kLanes<float>;

// The two matrix products. Convolution: c[r][n] = sum over k of a[r][k] * b[k][n], with b in panels.
// Gradient: c[r][n] += sum over k of a[k][r] * b[k][n], with b in rows of `ldb` values.
struct Convolved {
  static constexpr bool kAdds = false;
  int64_t lda, ldc, depth;

  const float* rows(const float* a, int64_t r) const { return a + r * lda; }
  float value(const float* a, int64_t r, int64_t k) const { return a[r * lda + k]; }
  const float* row(const float* b, int64_t k) const { return b + k * kWinogradPanel; }
  int64_t next() const { return kVectorsOfPanel == 1 ? depth * kWinogradPanel : kLanes<float>; }
};
struct Correlated {
  static constexpr bool kAdds = true;
  int64_t lda, ldb, ldc, depth;

  const float* rows(const float* a, int64_t r) const { return a + r; }
  float value(const float* a, int64_t r, int64_t k) const { return a[k * lda + r]; }
  const float* row(const float* b, int64_t k) const { return b + k * ldb; }
  int64_t next() const { return kLanes<float>; }
};

// Computes R rows of N vectors in registers; R and N leave registers for a row of b and a value of a. The N
// vectors are of one panel, or of one panel each. The last vector has the type V, which is half a register
// if no more lanes are needed. This halves its cost on processors that split 512-bit operations in two.
template <int R, int N, class V, class Product>
SG_INLINE void winograd_product(const Product& of, const float* a, const float* b, float* c) {
  const int64_t next = of.next(), ldc = of.ldc;
  F32 sum[R][N] = {};  // the last vector of each row is in tail
  V tail[R] = {};
  if constexpr (Product::kAdds) {
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N - 1; ++n) sum[r][n] = load(c + r * ldc + n * kLanes<float>);
      __builtin_memcpy(&tail[r], c + r * ldc + (N - 1) * kLanes<float>, sizeof(V));
    }
  }
  for (int64_t k = 0; k < of.depth; ++k) {
    const float* const from = of.row(b, k);
    F32 row[N];
    V last;
    for (int n = 0; n < N - 1; ++n) row[n] = load(from + n * next);
    __builtin_memcpy(&last, from + (N - 1) * next, sizeof last);
    for (int r = 0; r < R; ++r) {
      const float value = of.value(a, r, k);
      for (int n = 0; n < N - 1; ++n) sum[r][n] += splat<F32>(value) * row[n];
      tail[r] += splat<V>(value) * last;
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N - 1; ++n) store(c + r * ldc + n * kLanes<float>, sum[r][n]);
    __builtin_memcpy(c + r * ldc + (N - 1) * kLanes<float>, &tail[r], sizeof(V));
  }
}

template <int R, int N, class V, class Product>
void winograd_rows(const Product& of, const float* a, const float* b, float* c, int64_t rows) {
  for (; rows >= R; rows -= R, a = of.rows(a, R), c += R * of.ldc) {
    winograd_product<R, N, V>(of, a, b, c);
  }
  if constexpr (R > 1) {
    if (rows > 0) winograd_rows<R / 2, N, V>(of, a, b, c, rows);
  }
}

typedef float HalfF32 __attribute__((vector_size(SG_BYTES / 2)));

// Computes the products for `width` lanes of c, at most N vectors.
template <int N = kWinogradVectors, class Product>
void winograd_columns(int64_t width, const Product& of, const float* a, const float* b, float* c,
                      int64_t rows) {
  if (width <= (N - 1) * kLanes<float>) {
    if constexpr (N > 1) winograd_columns<N - 1>(width, of, a, b, c, rows);
    return;
  }
  constexpr int R = (kRegisters - N - 1) / N;
  if (SG_BYTES == 64 && width <= N * kLanes<float> - kLanes<float> / 2) {
    winograd_rows<R, N, HalfF32>(of, a, b, c, rows);
  } else {
    winograd_rows<R, N, F32>(of, a, b, c, rows);
  }
}

template <class T>
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
        tiles_{args.n, args.h, args.w} {
    // The cache holds the transformed inputs and results of a block, and the weights of one point.
    const int64_t bytes = kWinogradPoints * sizeof(float) * (v_row_ + m_row_);
    const int64_t most = std::max<int64_t>(1, second_level_cache() / bytes);
    const int64_t shares = std::max<int64_t>(1, at::get_num_threads() * together_ / args.groups);
    const int64_t blocks = round_up((tiles_.count + most - 1) / most, shares);
    block_ = (tiles_.count + blocks - 1) / blocks;
    blocks_ = (tiles_.count + block_ - 1) / block_;
  }

  void run() const {
    at::parallel_for(0, blocks_ * (a_.groups / together_), 1, [&](int64_t begin, int64_t end) {
      const int64_t points = kWinogradPoints * block_;
      float* const v =
          static_cast<float*>(scratch(0, points * (v_row_ + m_row_) * sizeof(float)));
      float* const m = v + points * v_row_;
      for (int64_t i = begin; i < end; ++i) {
        block(i / blocks_ * together_, i % blocks_ * block_, v, m);
      }
    });
  }

 private:
  // The transforms do not depend on groups. They handle the fewest groups that fill whole vectors of x.
  int64_t groups_together() const {
    int64_t count = 1;
    while (count < a_.groups && (a_.groups % count || count * depth_ % kLanes<float>)) ++count;
    return count;
  }

  void block(int64_t group, int64_t first, float* v, float* m) const {
    const int64_t count = std::min(block_, tiles_.count - first);
    const WinogradInput<T> input{tiles_, static_cast<const T*>(a_.x), a_.in_channels,
                                 a_.scale, a_.shift, block_ * v_row_};
    for (int64_t t = 0; t < count; ++t) {
      input.read(tiles_.place(first + t), group * depth_, together_ * depth_, v + t * v_row_);
    }
    for (int64_t p = 0; p < kWinogradPoints; ++p) {
      // In ascending order, because the last vector of a group overwrites results of the next group.
      for (int64_t g = 0; g < together_; ++g) {
        products(a_.weight + ((group + g) * kWinogradPoints + p) * weights_,
                 v + p * block_ * v_row_ + g * depth_, m + p * block_ * m_row_ + g * width_, count);
      }
    }
    for (int64_t t = 0; t < count; ++t) write(group, tiles_.place(first + t), m + t * m_row_);
  }

  void products(const float* weight, const float* v, float* m, int64_t count) const {
    const Convolved of{v_row_, m_row_, depth_};
    for (int64_t i = 0; i < width_; i += kWinogradVectors * kLanes<float>) {
      winograd_columns(std::min(kWinogradVectors * kLanes<float>, width_ - i), of, v,
                       weight + i / kWinogradPanel * depth_ * kWinogradPanel + i % kWinogradPanel,
                       m + i, count);
    }
  }

  void write(int64_t group, const WinogradTiles::Place& at, const float* m) const {
    const int64_t channels = together_ * width_;
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
      F32 rows[6][4];
      for (int y = 0; y < 6; ++y) {
        F32 d[6];
        for (int x = 0; x < 6; ++x) d[x] = load(m + (y * 6 + x) * block_ * m_row_ + c);
        winograd_output(d, rows[y]);
      }
      const int64_t lanes = std::min(kLanes<float>, channels - c);
      const F32 bias = a_.bias == nullptr ? F32{} : some_lanes(a_.bias + group * width_ + c, lanes);
      T* const corner = static_cast<T*>(a_.y) +
                        ((at.image * a_.h + at.y) * a_.w + at.x) * a_.out_channels + group * width_ + c;
      for (int x = 0; x < 4 && at.x + x < a_.w; ++x) {
        F32 d[6], o[4];
        for (int y = 0; y < 6; ++y) d[y] = rows[y][x];
        winograd_output(d, o);
        for (int y = 0; y < 4 && at.y + y < a_.h; ++y) {
          T* const p = corner + (y * a_.w + x) * a_.out_channels;
          lanes == kLanes<float> ? store(p, o[y] + bias) : store(p, o[y] + bias, lanes);
        }
      }
    }
  }

  const Winograd& a_;
  int64_t depth_, width_, together_, weights_, v_row_, m_row_;
  WinogradTiles tiles_;
  int64_t block_, blocks_;
};
