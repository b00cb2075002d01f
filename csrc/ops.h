// The C++ ops, as the dispatcher and the pybind11 module see them. Schemas: softgate_ext/ops/schema.py.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

namespace softgate {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Needs = c10::List<bool>;

Tensor gated_residual(const Tensor& x, at::TensorList branches, const OptionalTensor& alpha);

std::vector<Tensor> gated_residual_backward(const Tensor& dy, const OptionalTensor& x,
                                            const OptionalTensor& alpha, at::IntArrayRef split,
                                            const Needs& needs);

std::tuple<Tensor, Tensor, Tensor, Tensor> gated_residual_bn_relu(
    const Tensor& x, at::TensorList branches, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu);

std::vector<Tensor> gated_residual_bn_relu_backward(
    const OptionalTensor& dy, const Tensor& dz, const Tensor& y, const OptionalTensor& x,
    const OptionalTensor& alpha, const Tensor& mean, const Tensor& var, const OptionalTensor& weight,
    const OptionalTensor& bias, bool training, double eps, bool relu, at::IntArrayRef split,
    const Needs& needs);

std::tuple<Tensor, Tensor, Tensor> bn_relu(const Tensor& x, const OptionalTensor& running_mean,
                                           const OptionalTensor& running_var,
                                           const OptionalTensor& weight, const OptionalTensor& bias,
                                           bool training, double eps, bool relu);

std::vector<Tensor> bn_relu_backward(const Tensor& dz, const Tensor& x, const Tensor& mean,
                                     const Tensor& var, const OptionalTensor& weight,
                                     const OptionalTensor& bias, bool training, double eps,
                                     bool relu, const Needs& needs);

Tensor skip_merge(const Tensor& skip, at::TensorList branches, const Tensor& low,
                  const OptionalTensor& alpha, std::string_view mode);

std::vector<Tensor> skip_merge_backward(const Tensor& dmerged, const OptionalTensor& skip,
                                        const OptionalTensor& alpha, int64_t channels,
                                        std::string_view mode, at::IntArrayRef split,
                                        const Needs& needs);

std::tuple<Tensor, Tensor, Tensor, Tensor> skip_merge_bn_relu(
    const Tensor& skip, at::TensorList branches, const Tensor& low, const OptionalTensor& alpha,
    const OptionalTensor& running_mean, const OptionalTensor& running_var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu,
    std::string_view mode);

std::vector<Tensor> skip_merge_bn_relu_backward(
    const OptionalTensor& dmerged, const Tensor& dz, const Tensor& merged,
    const OptionalTensor& skip, const OptionalTensor& alpha, const Tensor& mean, const Tensor& var,
    const OptionalTensor& weight, const OptionalTensor& bias, bool training, double eps, bool relu,
    int64_t channels, std::string_view mode, at::IntArrayRef split, const Needs& needs);

}  // namespace softgate
