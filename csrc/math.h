// The formulas of the ops, written once for the CPU and CUDA kernels. V is a scalar or, on the CPU, a vector of
// scalars. A is a scalar of the accumulator's type.
//
// z = relu((y - mean) * scale + bias) with scale = weight / sqrt(var + eps). The mean is subtracted first,
// because y * scale + shift would lose digits where |mean| >> std. The backward computes the same
// pre-activation from y again for the ReLU mask, so no mask is stored.
#pragma once

#include <cmath>

#if defined(__CUDACC__) || defined(SOFTGATE_EMULATOR)
#define SOFTGATE_FN __host__ __device__ __forceinline__
#else
#define SOFTGATE_FN inline __attribute__((always_inline))
#endif

namespace softgate {

// y = alpha * x + f
template <class V>
SOFTGATE_FN V gate(V alpha, V x, V f) {
  return alpha * x + f;
}

template <class V>
SOFTGATE_FN V pre_activation(V y, V mean, V scale, V bias) {
  return (y - mean) * scale + bias;
}

// A NaN stays a NaN, as in torch.relu.
template <class V>
SOFTGATE_FN V relu(V pre) {
  return pre <= V{} ? V{} : pre;
}

template <class V>
SOFTGATE_FN V relu_grad(V dz, V pre) {
  return pre <= V{} ? V{} : dz;
}

// The gradient of batch_norm with respect to its input in training, where g is the gradient of its output:
//   scale * (g - mean(g) - (y - mean) * slope),  slope = sum(g * (y - mean)) / (count * (var + eps))
// In evaluation the gradient is scale * g. It must not be computed here with a slope of zero, because an
// infinite y times zero is NaN.
template <class V>
SOFTGATE_FN V norm_grad(V g, V y, V mean, V scale, V mean_g, V slope) {
  return scale * (g - mean_g - (y - mean) * slope);
}

// The count, the mean and the sum of squared deviations (m2) of a set of values. Two sets are merged by the
// formula of Chan et al. (1979), which stays accurate if the means are large. The difference of the means is
// multiplied by the count before it is squared: its square may overflow, and infinity times the count 0 of an
// empty set would be NaN.
template <class A>
struct Moments {
  A count, mean, m2;

  SOFTGATE_FN Moments merged(const Moments& other) const {
    const A total = count + other.count;
    if (total == A(0)) return *this;
    const A delta = other.mean - mean;
    const A share = other.count / total;
    return {total, mean + delta * share, m2 + other.m2 + delta * (delta * count * share)};
  }
};

// Linear interpolation as in torch.lerp: weight 0 gives exactly `from`, weight 1 exactly `to`.
template <class A>
SOFTGATE_FN A lerp(A from, A to, A weight) {
  return weight > A(-0.5) && weight < A(0.5) ? from + weight * (to - from)
                                             : to - (to - from) * (A(1) - weight);
}

template <class A>
SOFTGATE_FN A reciprocal_std(A var, A eps) {
  return A(1) / sqrt(var + eps);
}

}  // namespace softgate
