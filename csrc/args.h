// The arguments of a kernel call as plain pointers and sizes: the interface between the ops, which check the
// arguments and allocate the results, and the kernels of every device. No torch header is included here, because
// nvcc would take about as long for it as for the kernels.
//
// All activations of a call are dense and have the same dtype T and the same layout, contiguous (NCHW) or
// channels_last (NHWC). Per-channel vectors have the accumulator's type A: double if T is double, else float.
#pragma once

#include <cstdint>

namespace softgate {

enum class DType { f32, f64, f16, bf16 };

constexpr int kMaxBranches = 4;

// A tensor of a call. `given` tells whether the call has the tensor: a null pointer would not tell, because a tensor
// without elements has a null pointer too.
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

// The tensors from which y is computed: y = alpha * skip + cat(branches). If `low` is given, its nearest 2x
// upsampling is then added to y (concat = false) or appended as further channels (concat = true).
struct Source {
  In skip;  // (n, skip_channels, h, w)
  int64_t skip_channels = 0;
  In alpha;  // A, skip_channels values, or one value if alpha_shared; absent: alpha = 1
  bool alpha_shared = false;
  int branches = 0;  // 0: none
  In branch[kMaxBranches] = {};
  int64_t width[kMaxBranches] = {};  // channels of each branch
  In low;                            // (n, low_channels, h / 2, w / 2)
  int64_t low_channels = 0;
  bool concat = false;
};

// z = relu(batch_norm(y)), or batch_norm(y) if relu is false. Unused if the call has no z.
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
  Out y;     // absent: the source is a single tensor (branch[0], no skip), and y is that tensor
  Out z;     // absent: the op has no norm
  Out mean;  // A; written in training, read in evaluation
  Out var;   // A; biased; written in training, read in evaluation
};

// The gradients of the tensors of `source`, computed from d = dy + batch_norm'(relu'(dz)), the complete gradient of
// y. An absent output is not required and is not computed.
struct Backward {
  DType dtype;
  Dims dims;
  Source source;  // skip is read for dalpha only; the values of the branches and of low are not read
  Norm norm;
  In dy;  // absent: no loss depends on y directly
  In dz;  // absent: the op has no norm
  In y;   // read if dz is given
  In mean;
  In var;
  Out dskip;
  Out dbranch[kMaxBranches] = {};
  Out dlow;
  Out dalpha;   // A, skip_channels values; if alpha is shared, the caller adds them up
  Out dweight;  // A
  Out dbias;    // A
};

// The update of the running statistics of a norm after a training call:
// running = lerp(running, batch statistic, momentum), with the unbiased variance of the batch. All vectors have
// `channels` values.
struct Running {
  DType dtype;      // of the buffers
  bool wide;        // whether mean and var are float64; else they are float32
  int64_t channels;
  const void* mean;
  const void* var;  // biased
  void* running_mean;
  void* running_var;
  int64_t* calls;   // the number of training calls so far, incremented here; null: they are not counted
  double momentum;
  bool cumulative;  // if true, the weight is 1 / calls instead of momentum
  double unbiased;  // count / (count - 1), the factor that turns var into the unbiased variance
};

// y = conv3x3(relu(scale * x + shift)) + bias with zero padding of one pixel, by Winograd's F(4x4, 3x3). x and y are
// channels_last and have the same dtype, float32 or bfloat16; everything else is float32. The weights are already
// transformed and stored in panels of kWinogradPanel output channels:
// [group][36 points][panel][input channel][kWinogradPanel].
constexpr int64_t kWinogradPanel = 16;

struct Winograd {
  DType dtype;
  int64_t n, h, w, in_channels, out_channels, groups;
  const void* x;
  const float* weight;
  const float* scale;  // null: neither scale and shift nor the ReLU are applied to x
  const float* shift;
  const float* bias;  // null: none
  void* y;
};

// The transform of weights into these panels. in_channels and out_channels are the numbers of one group. `weight`
// points to the first row and column that is read, and the strides, in values, may be negative.
struct WinogradPoints {
  int64_t in_channels, out_channels, groups;
  const float* weight;
  int64_t group_stride, in_stride, out_stride, row_stride, column_stride;
  float* points;
};

// The gradient of this convolution, without scale, shift and ReLU, with respect to its weights.
struct WinogradGradient {
  DType dtype;  // of x and dy
  int64_t n, h, w, in_channels, out_channels, groups;
  const void* x;
  const void* dy;
  float* sums;     // scratch memory for winograd_sums() values
  float* dweight;  // (out_channels, in_channels / groups, 3, 3), channels_last
};

// The number of values of WinogradGradient::sums: 36 points for each pair of an output channel and an input channel
// of its group. A row of input channels is padded to a multiple of 16, the widest vector of float.
inline int64_t winograd_sums(int64_t in_channels, int64_t out_channels, int64_t groups) {
  return 36 * out_channels * ((in_channels / groups + 15) / 16 * 16);
}

}  // namespace softgate
