// The formulas of the ops, once, for every device. V is a scalar or, on the CPU, a vector of them.
//
// z = relu((y - mean) * scale + bias) with scale = weight / sqrt(var + eps): subtracting the mean first
// keeps its precision where |mean| >> std, at the price of no extra instruction. Backward recomputes
// the same pre-activation from y for the ReLU mask, so no mask is ever stored.
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

// NaN passes through, as in torch.relu.
template <class V>
SOFTGATE_FN V relu(V pre) {
  return pre <= V{} ? V{} : pre;
}

template <class V>
SOFTGATE_FN V relu_grad(V dz, V pre) {
  return pre <= V{} ? V{} : dz;
}

// Gradient of batch_norm to its input in training:
//   scale * (g - mean(g) - (y - mean) * slope),  slope = sum(g * (y - mean)) / (count * (var + eps))
// In evaluation it is scale * g alone, also where y is infinite.
template <class V>
SOFTGATE_FN V norm_grad(V g, V y, V mean, V scale, V mean_g, V slope) {
  return scale * (g - mean_g - (y - mean) * slope);
}

// Count, mean and sum of squared deviations of a set of values. Chan et al. 1979: two sets merge
// exactly, whatever their means: no square of a mean is formed, which a set of none would multiply by
// zero, infinite as it may be.
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

// From one value towards another, exact at both ends, as torch.lerp.
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
