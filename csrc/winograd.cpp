// The op of Winograd's convolution: for inference on the CPU, without autograd.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "args.h"
#include "checks.h"
#include "cpu/kernels.h"
#include "ops.h"

namespace softgate {
namespace {

const float* vector(std::string_view who, const OptionalTensor& t, int64_t channels,
                    std::vector<Tensor>& kept) {
  if (!t) return nullptr;
  checks::dense(who, *t);
  SOFTGATE_CHECK(t->dim() == 1 && t->size(0) == channels && t->scalar_type() == at::kFloat, who,
                 " must be float32 of shape (", channels, ",), got ", checks::name(t->scalar_type()),
                 " of shape ", checks::shape(*t));
  checks::on_cpu(*t);
  return kept.emplace_back(t->contiguous()).const_data_ptr<float>();
}

}  // namespace

Tensor winograd_conv3x3(const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
                        const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
                        int64_t groups, const std::vector<Tensor>& out) {
  checks::activation("x", x);
  checks::on_cpu(x);
  checks::dense("weight", weight);
  checks::on_cpu(weight);
  SOFTGATE_CHECK(x.scalar_type() == at::kFloat, "x must be float32, got ",
                 checks::name(x.scalar_type()));
  SOFTGATE_CHECK(groups > 0 && channels > 0 && x.size(1) % groups == 0 && channels % groups == 0,
                 "groups must divide the channels of x (", x.size(1), ") and of the result (", channels,
                 "), got ", groups);
  const int64_t panels = (channels / groups + kWinogradPanel - 1) / kWinogradPanel;
  const std::vector<int64_t> wanted{groups, 36, panels, x.size(1) / groups, kWinogradPanel};
  SOFTGATE_CHECK(weight.sizes() == wanted && weight.scalar_type() == at::kFloat,
                 "weight must be float32 of shape (", groups, ", 36, ", panels, ", ",
                 x.size(1) / groups, ", ", kWinogradPanel, "), got ", checks::name(weight.scalar_type()),
                 " of shape ", checks::shape(weight));
  SOFTGATE_CHECK(scale.has_value() == shift.has_value(), "scale must be given together with shift, got ",
                 scale ? "scale" : "shift", " alone");
  std::vector<Tensor> kept;
  const Tensor dense = x.contiguous(at::MemoryFormat::ChannelsLast), packed = weight.contiguous();
  const std::vector<int64_t> size{x.size(0), channels, x.size(2), x.size(3)};
  if (!out.empty()) checks::result("out", out[0], x, size, at::MemoryFormat::ChannelsLast);
  const Tensor y = out.empty()
                       ? at::empty(size, x.options().memory_format(at::MemoryFormat::ChannelsLast))
                       : out[0];
  const Winograd args{x.size(0), x.size(2), x.size(3), x.size(1), channels, groups,
                      dense.const_data_ptr<float>(), packed.const_data_ptr<float>(),
                      vector("scale", scale, x.size(1), kept), vector("shift", shift, x.size(1), kept),
                      vector("bias", bias, channels, kept), y.mutable_data_ptr<float>()};
  if (y.numel() != 0) cpu::winograd(args);
  return y;
}

// Its schema is in softgate_ext/inference/winograd.py.
TORCH_LIBRARY_IMPL(softgate, CPU, m) {
  m.impl("winograd_conv3x3",
         [](const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
            const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
            int64_t groups) {
           return winograd_conv3x3(x, weight, scale, shift, bias, channels, groups, {});
         });
}

}  // namespace softgate
