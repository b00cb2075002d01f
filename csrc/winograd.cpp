// The ops of Winograd's convolution on the CPU: one for inference, which takes transformed weights; and one
// for training, which takes ordinary weights, with the op of its gradients.
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "args.h"
#include "call.h"
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
  return kept.emplace_back(aligned(t->contiguous())).const_data_ptr<float>();
}

// Whether a tensor has a dtype in which the kernels store activations. All other tensors are float32, also
// the weights under autocast, because bfloat16 weights would only lose accuracy.
bool is_activation(const Tensor& t) {
  return t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16;
}

}  // namespace

Tensor winograd_conv3x3(const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
                        const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
                        int64_t groups, const std::vector<Tensor>& out) {
  checks::activation("x", x);
  checks::on_cpu(x);
  checks::dense("weight", weight);
  checks::on_cpu(weight);
  SOFTGATE_CHECK(is_activation(x), "x must be float32 or bfloat16, got ", checks::name(x.scalar_type()));
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
  const Tensor dense = aligned(x.contiguous(at::MemoryFormat::ChannelsLast));
  const Tensor packed = aligned(weight.contiguous());
  const std::vector<int64_t> size{x.size(0), channels, x.size(2), x.size(3)};
  if (!out.empty()) checks::result("out", out[0], x, size, at::MemoryFormat::ChannelsLast);
  const Tensor y = out.empty()
                       ? at::empty(size, x.options().memory_format(at::MemoryFormat::ChannelsLast))
                       : out[0];
  const Winograd args{dtype_of(x), x.size(0), x.size(2), x.size(3), x.size(1), channels, groups,
                      dense.const_data_ptr(), packed.const_data_ptr<float>(),
                      vector("scale", scale, x.size(1), kept), vector("shift", shift, x.size(1), kept),
                      vector("bias", bias, channels, kept), y.mutable_data_ptr()};
  if (y.numel() != 0) cpu::winograd(args);
  return y;
}

namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// Whether the kernels support a call. Otherwise aten computes it, or raises its own error.
bool is_served(at::TensorList activations, at::TensorList parameters, int64_t groups) {
  const Tensor &x = activations[0], &weight = parameters[0];
  const auto has_place = [](const Tensor& t) {
    return t.device().is_cpu() && t.layout() == at::kStrided && is_aligned(t);
  };
  for (const Tensor& t : activations) {
    if (!is_activation(t) || t.scalar_type() != x.scalar_type() || !has_place(t)) return false;
  }
  for (const Tensor& t : parameters) {
    if (t.scalar_type() != at::kFloat || !has_place(t)) return false;
  }
  return x.dim() == 4 && groups > 0 && weight.size(0) % groups == 0 &&
         x.size(1) == weight.size(1) * groups && x.numel() != 0 && weight.numel() != 0;
}

// Checks that the convolution is 3x3, because at::convolution would accept any size. softgate_ext/ops/checks.py raises
// the same sentence.
void of_3x3(const Tensor& weight) {
  SOFTGATE_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3,
                 "weight must have shape (O, I / groups, 3, 3), got ", checks::shape(weight));
}

// Checks the shapes of x and dy, because the CPU kernels derive all sizes from x and weight.
void gradient_of_3x3(const Tensor& dy, const Tensor& x, const Tensor& weight) {
  SOFTGATE_CHECK(x.dim() == 4, "x must be 4-D (N, C, H, W), got shape ", checks::shape(x));
  const std::array<int64_t, 4> size{x.size(0), weight.size(0), x.size(2), x.size(3)};
  SOFTGATE_CHECK(dy.sizes() == at::IntArrayRef(size), "dy must have shape (", size[0], ", ", size[1], ", ",
                 size[2], ", ", size[3], "), got ", checks::shape(dy));
}

// The transformed weights of the convolution, or (turned) of its gradient with respect to x. The latter is the
// convolution of dy with every 3x3 kernel rotated by 180 degrees, and with input and output channels exchanged.
Tensor points(const Tensor& weight, int64_t groups, bool turned) {
  const Tensor w = weight.resolve_neg();
  const int64_t out = w.size(0) / groups, in = w.size(1);
  const int64_t inner = turned ? out : in, outer = turned ? in : out;
  const int64_t panels = (outer + kWinogradPanel - 1) / kWinogradPanel;
  Tensor made = at::empty({groups, 36, panels, inner, kWinogradPanel}, w.options());
  WinogradPoints args{inner, outer, groups};
  args.weight = w.const_data_ptr<float>();
  args.points = made.mutable_data_ptr<float>();
  args.group_stride = out * w.stride(0);
  args.in_stride = w.stride(turned ? 0 : 1);
  args.out_stride = w.stride(turned ? 1 : 0);
  args.row_stride = w.stride(2);
  args.column_stride = w.stride(3);
  if (turned) {  // reads rows and columns in reverse
    args.weight += 2 * (w.stride(2) + w.stride(3));
    args.row_stride *= -1;
    args.column_stride *= -1;
  }
  cpu::winograd_points(args);
  return made;
}

Tensor convolved(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, int64_t channels,
                 int64_t groups, bool turned) {
  return winograd_conv3x3(x, points(weight, groups, turned), {}, {}, bias, channels, groups, {});
}

Tensor weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t groups) {
  const Tensor from = x.contiguous(kChannelsLast), d = dy.contiguous(kChannelsLast);
  const int64_t in = x.size(1), out = dy.size(1);
  const Tensor sums = at::empty({winograd_sums(in, out, groups)}, weight.options());
  const Tensor made = at::empty(weight.sizes(), weight.options().memory_format(kChannelsLast));
  cpu::winograd_gradient({dtype_of(x), x.size(0), x.size(2), x.size(3), in, out, groups,
                          from.const_data_ptr(), d.const_data_ptr(), sums.mutable_data_ptr<float>(),
                          made.mutable_data_ptr<float>()});
  return made.contiguous(weight.suggest_memory_format());
}

Tensor conv3x3(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, int64_t groups) {
  of_3x3(weight);
  checks::dense("x", x);
  checks::dense("weight", weight);
  if (bias) checks::dense("bias", *bias);
  std::vector<Tensor> parameters{weight};
  if (bias) parameters.push_back(*bias);
  if (!is_served({x}, parameters, groups)) {
    return at::convolution(x, weight, bias, {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, groups);
  }
  return convolved(x, weight, bias, weight.size(0), groups, false);
}

// The gradients of x, weight and bias that `needs` asks for.
std::vector<Tensor> conv3x3_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t groups,
                                     std::array<bool, 3> needs) {
  of_3x3(weight);
  gradient_of_3x3(dy, x, weight);
  checks::dense("dy", dy);
  checks::dense("x", x);
  checks::dense("weight", weight);
  std::vector<Tensor> wanted;
  if (!is_served({x, dy}, {weight}, groups)) {
    const auto [dx, dweight, dbias] = at::convolution_backward(dy, x, weight, weight.size(0), {1, 1}, {1, 1},
                                                               {1, 1}, false, {0, 0}, groups, needs);
    for (const Tensor& gradient : {dx, dweight, dbias}) {
      if (gradient.defined()) wanted.push_back(gradient);
    }
    return wanted;
  }
  if (needs[0]) wanted.push_back(convolved(dy, weight, {}, x.size(1), groups, true));
  if (needs[1]) wanted.push_back(weight_gradient(dy, x, weight, groups));
  if (needs[2]) wanted.push_back(dy.sum({0, 2, 3}, false, weight.scalar_type()));
  return wanted;
}

}  // namespace

// The schemas are in softgate_ext/ops/conv3x3.py.
TORCH_LIBRARY_IMPL(softgate, CPU, m) {
  m.impl("conv3x3", &conv3x3);
  m.impl("conv3x3_backward", &conv3x3_backward);
  m.impl("winograd_conv3x3",
         [](const Tensor& x, const Tensor& weight, const OptionalTensor& scale,
            const OptionalTensor& shift, const OptionalTensor& bias, int64_t channels,
            int64_t groups) {
           return winograd_conv3x3(x, weight, scale, shift, bias, channels, groups, {});
         });
}

}  // namespace softgate
