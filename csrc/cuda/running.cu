// The update of the running statistics of a norm (struct Running of args.h). The kernel has a single thread block:
// all vectors together have only a few kilobytes, and every thread must have read the number of calls before one
// thread increments it, which __syncthreads ensures within a thread block.
#include "launch.cuh"

namespace softgate::cuda {
namespace {

// The value rounded to T: as in update_running of softgate_ext/ops/running.py, the batch statistics are first
// converted to the dtype of the buffers.
template <class T>
__device__ Accumulator<T> rounded(Accumulator<T> value) {
  return widen(narrow<T>(value));
}

// T is the type of the buffers, Statistic that of the batch statistics. For each channel the kernel reads and
// writes two values of T and reads two of Statistic.
template <class T, class Statistic>
__global__ void __launch_bounds__(kThreads) update_running(const __grid_constant__ Running r) {
  using A = Accumulator<T>;
  A weight = A(r.momentum);
  if (r.calls != nullptr) {
    trace_read(r.calls, sizeof(int64_t));
    const int64_t calls = *r.calls + 1;
    if (r.cumulative) weight = A(1) / A(calls);
    __syncthreads();
    if (threadIdx.x == 0) {
      trace_write(r.calls, sizeof(int64_t));
      *r.calls = calls;
    }
  }
  const Out running[] = {{r.running_mean, true}, {r.running_var, true}};
  const In batch[] = {{r.mean, true}, {r.var, true}};
  const Statistic factor[] = {1, Statistic(r.unbiased)};
  for (int64_t c = threadIdx.x; c < r.channels; c += blockDim.x) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const A from = widen(channel_value<T>(In{running[i].data, true}, c, T{}));
      const Statistic to = channel_value<Statistic>(batch[i], c, Statistic(0)) * factor[i];
      set_channel_value(running[i], c, narrow<T>(lerp(from, rounded<T>(A(to)), weight)));
    }
  }
}

template <class T>
void launch_of(const Running& r, Stream stream) {
  const Grid grid{1, kThreads};
  if (r.wide) {
    launch_kernel<update_running<T, double>>("update_running", grid, stream, r);
  } else {
    launch_kernel<update_running<T, float>>("update_running", grid, stream, r);
  }
}

}  // namespace

void launch(const Running& r, Stream stream) {
  switch (r.dtype) {
    case DType::f32: return launch_of<float>(r, stream);
    case DType::f64: return launch_of<double>(r, stream);
    case DType::f16: return launch_of<__half>(r, stream);
    case DType::bf16: return launch_of<__nv_bfloat16>(r, stream);
  }
}

}  // namespace softgate::cuda
