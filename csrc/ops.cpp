// Gives the dispatcher the kernels of each device; the schemas are those of softgate_ext/ops/schema.py.
#include "ops.h"

#include <torch/library.h>

namespace softgate {
namespace {

void register_ops(torch::Library& m) {
  m.impl("gated_residual", &gated_residual);
  m.impl("gated_residual_backward", &gated_residual_backward);
  m.impl("gated_residual_bn_relu", &gated_residual_bn_relu);
  m.impl("gated_residual_bn_relu_backward", &gated_residual_bn_relu_backward);
  m.impl("bn_relu", &bn_relu);
  m.impl("bn_relu_backward", &bn_relu_backward);
  m.impl("skip_merge", &skip_merge);
  m.impl("skip_merge_backward", &skip_merge_backward);
  m.impl("skip_merge_bn_relu", &skip_merge_bn_relu);
  m.impl("skip_merge_bn_relu_backward", &skip_merge_bn_relu_backward);
}

}  // namespace

TORCH_LIBRARY_IMPL(softgate, CPU, m) {
  register_ops(m);
}

#ifdef SOFTGATE_CUDA
TORCH_LIBRARY_IMPL(softgate, CUDA, m) {
  register_ops(m);
}
#endif

}  // namespace softgate
