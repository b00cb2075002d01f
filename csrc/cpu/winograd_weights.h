// The two passes of Winograd's convolution over weights: the transform of the weights, and their gradient.
// Included like vec.h.

// U = G g G^T. A vector holds output channels of one panel.
void winograd_points(const WinogradPoints& a) {
  const int64_t panels = round_up(a.out_channels, kWinogradPanel) / kWinogradPanel;
  const int64_t point = panels * a.in_channels * kWinogradPanel;
  at::parallel_for(0, a.groups * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels, panel = i % panels;
      for (int64_t lane = 0; lane < kWinogradPanel; lane += kLanes<float>) {
        const int64_t first = panel * kWinogradPanel + lane;
        const int64_t lanes = std::clamp<int64_t>(a.out_channels - first, 0, kLanes<float>);
        const float* from = a.weight + group * a.group_stride + first * a.out_stride;
        float* to = a.points + group * kWinogradPoints * point +
                    panel * a.in_channels * kWinogradPanel + lane;
        for (int64_t k = 0; k < a.in_channels; ++k, from += a.in_stride, to += kWinogradPanel) {
          F32 rows[3][6], columns[6];
          for (int y = 0; y < 3; ++y) {
            F32 g[3];
            for (int x = 0; x < 3; ++x) {
              const int64_t at = y * a.row_stride + x * a.column_stride;
              g[x] = F32{};
              for (int64_t n = 0; n < lanes; ++n) g[x][n] = from[at + n * a.out_stride];
            }
            winograd_weight(g, rows[y]);
          }
          for (int x = 0; x < 6; ++x) {
            const F32 g[3] = {rows[0][x], rows[1][x], rows[2][x]};
            winograd_weight(g, columns);
            for (int y = 0; y < 6; ++y) store(to + (y * 6 + x) * point, columns[y]);
          }
        }
      }
    }
  });
}

// dW = G^T [sum over tiles of (B^T d B) (A dY A^T)] G, the adjoint of the convolution in its weights.
//
// There are two steps over a block of tiles: the transforms, in which threads share the tiles; and a matrix
// product for each point, in which threads share the points. Each sum is therefore computed by one thread in
// the order of the tiles, and the blocks depend on the shape alone, so that the bits do not depend on the
// number of threads.
template <class T>
class WinogradGradientPass {
 public:
  explicit WinogradGradientPass(const WinogradGradient& args)
      : a_(args),
        tiles_{args.n, args.h, args.w},
        depth_(args.in_channels / args.groups),
        width_(args.out_channels / args.groups),
        sums_row_(round_up(depth_, kLanes<float>)),
        // The last vector of a group extends into the next group, or past the last one.
        v_row_(round_up(args.in_channels - depth_ + sums_row_, kLanes<float>)),
        m_row_(round_up(args.out_channels, kLanes<float>)) {
    const int64_t bytes = kWinogradPoints * sizeof(float) * (args.in_channels + args.out_channels);
    block_ = std::min(tiles_.count, std::max(kTiles, kBlockBytes / bytes / kTiles * kTiles));
  }

  void run() const {
    const int64_t points = kWinogradPoints * block_;
    float* const v = static_cast<float*>(scratch(0, points * (v_row_ + m_row_) * sizeof(float)));
    float* const m = v + points * v_row_;
    const WinogradInput<T> input{tiles_, static_cast<const T*>(a_.x), a_.in_channels,
                                 nullptr, nullptr, block_ * v_row_};
    for (int64_t first = 0; first < tiles_.count; first += block_) {
      const int64_t count = std::min(block_, tiles_.count - first);
      at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const WinogradTiles::Place at = tiles_.place(first + t);
          input.read(at, 0, a_.in_channels, v + t * v_row_);
          read(at, m + t * m_row_);
        }
      });
      at::parallel_for(0, a_.groups * kWinogradPoints, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t group = i / kWinogradPoints, p = i % kWinogradPoints;
          float* const sums = a_.sums + i * width_ * sums_row_;
          if (first == 0) std::fill_n(sums, width_ * sums_row_, 0.f);
          products(v + p * block_ * v_row_ + group * depth_, m + p * block_ * m_row_ + group * width_,
                   sums, count);
        }
      });
    }
    at::parallel_for(0, a_.out_channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) write(o);
    });
  }

 private:
  static constexpr int64_t kTiles = 64;  // the operands of so many tiles stay in the first two caches
  static constexpr int64_t kBlockBytes = int64_t(4) << 20;

  void products(const float* v, const float* m, float* sums, int64_t count) const {
    for (int64_t t = 0; t < count; t += kTiles) {
      const Correlated of{m_row_, v_row_, sums_row_, std::min(kTiles, count - t)};
      for (int64_t i = 0; i < depth_; i += kWinogradVectors * kLanes<float>) {
        winograd_columns(std::min(kWinogradVectors * kLanes<float>, depth_ - i), of, m + t * m_row_,
                         v + t * v_row_ + i, sums + i, width_);
      }
    }
  }

  // Computes A dY A^T of a tile's 4 x 4 gradients; those outside of the map are 0.
  void read(const WinogradTiles::Place& at, float* m) const {
    const T* corner = static_cast<const T*>(a_.dy) +
                      ((at.image * a_.h + at.y) * a_.w + at.x) * a_.out_channels;
    for (int64_t c = 0; c < a_.out_channels; c += kLanes<float>) {
      const int64_t lanes = std::min(kLanes<float>, a_.out_channels - c);
      F32 rows[4][6];
      for (int y = 0; y < 4; ++y) {
        F32 d[4] = {};
        for (int x = 0; x < 4 && at.y + y < a_.h && at.x + x < a_.w; ++x) {
          d[x] = some_lanes(corner + (y * a_.w + x) * a_.out_channels + c, lanes);
        }
        winograd_output_adjoint(d, rows[y]);
      }
      for (int x = 0; x < 6; ++x) {
        const F32 d[4] = {rows[0][x], rows[1][x], rows[2][x], rows[3][x]};
        F32 o[6];
        winograd_output_adjoint(d, o);
        for (int y = 0; y < 6; ++y) store(m + (y * 6 + x) * block_ * m_row_ + c, o[y]);
      }
    }
  }

  void write(int64_t out) const {
    const int64_t point = width_ * sums_row_;
    const float* const sums =
        a_.sums + out / width_ * kWinogradPoints * point + out % width_ * sums_row_;
    for (int64_t c = 0; c < depth_; c += kLanes<float>) {
      const int64_t lanes = std::min(kLanes<float>, depth_ - c);
      F32 rows[6][3];
      for (int y = 0; y < 6; ++y) {
        F32 u[6];
        for (int x = 0; x < 6; ++x) u[x] = load(sums + (y * 6 + x) * point + c);
        winograd_weight_adjoint(u, rows[y]);
      }
      for (int x = 0; x < 3; ++x) {
        F32 u[6], o[3];
        for (int y = 0; y < 6; ++y) u[y] = rows[y][x];
        winograd_weight_adjoint(u, o);
        for (int y = 0; y < 3; ++y) {
          float* const p = a_.dweight + ((out * 3 + y) * 3 + x) * depth_ + c;
          lanes == kLanes<float> ? store(p, o[y]) : store(p, o[y], lanes);
        }
      }
    }
  }

  const WinogradGradient& a_;
  WinogradTiles tiles_;
  int64_t depth_, width_, sums_row_, v_row_, m_row_, block_;
};
