// What a kernel call reads and writes, stripped to pointers and sizes: the contract between the
// ops, which check and allocate, and the kernels of every device. No torch header here.
//
// Every activation of a call has one dtype T and one layout (contiguous or channels_last), dense.
// Per-channel vectors have the accumulator's type A: double beside double, else float.
#pragma once

#include <cstdint>

namespace softgate {

enum class DType { f32, f64, f16, bf16 };

constexpr int kMaxBranches = 4;

// A tensor of a call. One without values has no address either, so whether it is there is said apart.
template <class Pointer>
struct Operand {
  Pointer data = nullptr;
  bool given = false;
};
using In = Operand<const void*>;
using Out = Operand<void*>;

struct Dims {
  int64_t n, c, h, w;  // of y
  bool channels_last;

  int64_t plane() const { return h * w; }
  int64_t count() const { return n * h * w; }  // values per channel
};

// y = alpha * skip + cat(branches), and then, where low is given, its nearest 2x upsampling is added
// (concat = false) or appended as further channels (concat = true).
struct Source {
  In skip;  // (n, skip_channels, h, w)
  int64_t skip_channels = 0;
  In alpha;  // A, skip_channels values or one (alpha_shared); absent: 1
  bool alpha_shared = false;
  int branches = 0;  // 0: none
  In branch[kMaxBranches] = {};
  int64_t width[kMaxBranches] = {};  // channels of each branch
  In low;                            // (n, low_channels, h / 2, w / 2)
  int64_t low_channels = 0;
  bool concat = false;
};

// relu(batch_norm(y)); absent where a call has no z.
struct Norm {
  In weight;  // A; absent: 1
  In bias;    // A; absent: 0
  double eps = 0;
  bool relu = true;
  bool training = false;
};

struct Forward {
  DType dtype;
  Dims dims;
  Source source;
  Norm norm;
  Out y;     // absent: the source is one tensor (branch[0], no skip) which is y itself
  Out z;     // absent: no norm
  Out mean;  // A; written in training, read in evaluation
  Out var;   // A, biased; likewise
};

// d = dy + batch_norm'(relu'(dz)), handed back through the source. An absent output is not wanted.
struct Backward {
  DType dtype;
  Dims dims;
  Source source;  // branch[], low are not read; skip only for dalpha
  Norm norm;
  In dy;  // absent: y took part in no loss
  In dz;  // absent: no norm
  In y;   // read where dz is
  In mean;
  In var;
  Out dskip;
  Out dbranch[kMaxBranches] = {};
  Out dlow;
  Out dalpha;   // A, skip_channels values (summed by the caller where alpha is shared)
  Out dweight;  // A
  Out dbias;    // A
};

// What a training call leaves in the buffers of its norm: lerp(running, batch's, momentum), of the
// variance the unbiased one. All vectors have `channels` values.
struct Running {
  DType dtype;      // of the buffers
  bool wide;        // mean and var are float64, else float32
  int64_t channels;
  const void* mean;
  const void* var;  // biased
  void* running_mean;
  void* running_var;
  int64_t* calls;   // counts training calls; null: nobody does
  double momentum;
  bool cumulative;  // the weight is 1 / calls in place of momentum
  double unbiased;  // what makes var unbiased, as a factor
};

// y = conv3x3(relu(scale * x + shift)) + bias with a border of zeros, by Winograd's F(4x4, 3x3):
// channels_last, x and y of one dtype, float32 or bfloat16, all else float32. The weights are transformed: of each group and each of the 36 points, panels of
// kWinogradPanel results, [group][point][panel][input channel][kWinogradPanel].
constexpr int64_t kWinogradPanel = 16;

struct Winograd {
  DType dtype;
  int64_t n, h, w, in_channels, out_channels, groups;
  const void* x;
  const float* weight;
  const float* scale;  // null: x as it is, without ReLU
  const float* shift;
  const float* bias;  // null: none
  void* y;
};

// The transform of weights into such panels: of each group in_channels by out_channels. The strides, which
// may be negative, are those of the weights, from the first row and column that is read.
struct WinogradPoints {
  int64_t in_channels, out_channels, groups;
  const float* weight;
  int64_t group_stride, in_stride, out_stride, row_stride, column_stride;
  float* points;
};

// The gradient of that convolution, without scale and shift, by its weights.
struct WinogradGradient {
  DType dtype;  // of x and dy
  int64_t n, h, w, in_channels, out_channels, groups;
  const void* x;
  const void* dy;
  float* sums;     // room for winograd_sums values
  float* dweight;  // (out_channels, in_channels / groups, 3, 3), channels_last
};

// Values of `sums`: one a point and weight of a 3x3 kernel, in rows of whole vectors of any width.
inline int64_t winograd_sums(int64_t in_channels, int64_t out_channels, int64_t groups) {
  return 36 * out_channels * ((in_channels / groups + 15) / 16 * 16);
}

}  // namespace softgate
