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

struct Dims {
  int64_t n, c, h, w;  // of y
  bool channels_last;

  int64_t plane() const { return h * w; }
  int64_t count() const { return n * h * w; }  // values per channel
};

// y = alpha * skip + cat(branches), and then, where low is given, its nearest 2x upsampling is added
// (concat = false) or appended as further channels (concat = true).
struct Source {
  const void* skip = nullptr;  // (n, skip_channels, h, w), or null: no skip
  int64_t skip_channels = 0;
  const void* alpha = nullptr;  // A, skip_channels values or one (alpha_shared), or null: 1
  bool alpha_shared = false;
  int branches = 0;  // 0: none
  const void* branch[kMaxBranches] = {};
  int64_t width[kMaxBranches] = {};  // channels of each branch
  const void* low = nullptr;         // (n, low_channels, h / 2, w / 2), or null
  int64_t low_channels = 0;
  bool concat = false;
};

// relu(batch_norm(y)); absent where a call has no z.
struct Norm {
  const void* weight = nullptr;  // A, or null: 1
  const void* bias = nullptr;    // A, or null: 0
  double eps = 0;
  bool relu = true;
  bool training = false;
};

struct Forward {
  DType dtype;
  Dims dims;
  Source source;
  Norm norm;
  void* y = nullptr;     // null: the source is one tensor (branch[0], no skip) which is y itself
  void* z = nullptr;     // null: no norm
  void* mean = nullptr;  // A; written in training, read in evaluation
  void* var = nullptr;   // A, biased; likewise
};

// d = dy + batch_norm'(relu'(dz)), handed back through the source. A null output is not wanted.
struct Backward {
  DType dtype;
  Dims dims;
  Source source;  // branch[], low are not read; skip only for dalpha
  Norm norm;
  const void* dy = nullptr;  // null: y took part in no loss
  const void* dz = nullptr;  // null: no norm
  const void* y = nullptr;   // read where dz is
  const void* mean = nullptr;
  const void* var = nullptr;
  void* dskip = nullptr;
  void* dbranch[kMaxBranches] = {};
  void* dlow = nullptr;
  void* dalpha = nullptr;   // A, skip_channels values (summed by the caller where alpha is shared)
  void* dweight = nullptr;  // A
  void* dbias = nullptr;    // A
};

}  // namespace softgate
