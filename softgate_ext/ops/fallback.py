"""The dispatcher ops where no compiled kernel serves: the formulas in plain tensor code.

Registered for every device below the compiled kernels, so that ``torch.ops.softgate.*`` works
without a compiler. The backward formulas are those of ``csrc/math.h``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from softgate_ext import reference
from softgate_ext.ops import checks
from softgate_ext.ops.backward_checks import checked
from softgate_ext.ops.schema import accumulator, layout_of, library

_AXES = (0, 2, 3)


def _per_channel(v: Tensor) -> Tensor:
    return v.view(1, -1, 1, 1)


def _normalise(y, running_mean, running_var, weight, bias, training, eps, relu):
    dtype = accumulator(y.dtype)
    wide = y.to(dtype)
    if training:
        if y.numel():
            var, mean = torch.var_mean(wide, _AXES, correction=0)
        else:
            mean, var = wide.new_zeros(y.shape[1]), wide.new_ones(y.shape[1])
    else:
        mean, var = running_mean.to(dtype), running_var.to(dtype)
    z = _pre_activation(wide, mean, var, weight, bias, eps)
    z = F.relu(z) if relu else z
    z = z.to(y.dtype).contiguous(memory_format=layout_of(y))
    return (z, mean, var) if training else (z, wide.new_empty(0), wide.new_empty(0))


def _pre_activation(wide, mean, var, weight, bias, eps):
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight.to(scale.dtype)
    z = (wide - _per_channel(mean)) * _per_channel(scale)
    return z if bias is None else z + _per_channel(bias.to(scale.dtype))


def _normalise_backward(dy, dz, y, mean, var, weight, bias, training, eps, relu):
    """``dy + BN'(relu'(dz))`` and the gradients of weight and bias, in the accumulator's dtype."""
    dtype = accumulator(y.dtype)
    mean, var = mean.to(dtype), var.to(dtype)
    wide, g = y.to(dtype), dz.to(dtype)
    if relu:
        g = torch.where(_pre_activation(wide, mean, var, weight, bias, eps) <= 0, 0, g)
    rstd = torch.rsqrt(var + eps)
    normal = (wide - _per_channel(mean)) * _per_channel(rstd)
    dbias, dweight = g.sum(_AXES), (g * normal).sum(_AXES)
    scale = rstd if weight is None else rstd * weight.to(dtype)
    if training and y.numel():
        count = y.numel() / y.shape[1]
        g = g - _per_channel(dbias / count) - normal * _per_channel(dweight / count)
    d = g * _per_channel(scale)
    return (d if dy is None else d + dy.to(dtype)), dweight, dbias


def _gate_grad(x, d, alpha):
    sums = (x.to(d.dtype) * d).sum(_AXES)
    return (sums if alpha.numel() == sums.numel() else sums.sum(0, keepdim=True)).to(alpha.dtype)


def _narrow(d: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    return d.to(dtype, copy=True).contiguous(memory_format=layout)


def _split(d, split, dtype, layout) -> list[Tensor]:
    return [_narrow(part, dtype, layout) for part in d.split(list(split), dim=1)]


def _gated(d, alpha):
    return d if alpha is None else d * _per_channel(alpha.to(d.dtype))


def _residual_grads(d, x, alpha, split, needs, dtype, layout) -> list[Tensor]:
    grads = [_narrow(_gated(d, alpha), dtype, layout)] if needs[0] else []
    if needs[1]:
        grads += _split(d, split, dtype, layout)
    return grads + ([_gate_grad(x, d, alpha)] if needs[2] else [])


def _merge_grads(d, skip, alpha, channels, mode, split, needs, dtype, layout) -> list[Tensor]:
    left = d[:, :channels]
    low = d[:, channels:] if mode == "concat" else d
    grads = _residual_grads(left, None, alpha, split, [*needs[:2], False], dtype, layout)
    if needs[2]:
        n, c, h, w = low.shape
        children = low.reshape(n, c, h // 2, 2, w // 2, 2)
        grads.append(_narrow(children.sum((3, 5)), dtype, layout))
    return grads + ([_gate_grad(skip, left, alpha)] if needs[3] else [])


def _affine_grads(dweight, dbias, weight, bias, needs) -> list[Tensor]:
    grads = [dweight.to(weight.dtype)] if needs[0] else []
    return grads + ([dbias.to(bias.dtype)] if needs[1] else [])


def gated_residual(x: Tensor, branches: Sequence[Tensor], alpha: Tensor | None) -> Tensor:
    checks.residual(x, branches, alpha)
    return reference.gated_residual(x, branches, alpha).contiguous(memory_format=layout_of(x))


@checked
def gated_residual_backward(dy, x, alpha, split, needs):
    d = dy.to(accumulator(dy.dtype))
    return _residual_grads(d, x, alpha, split, needs, dy.dtype, layout_of(dy))


def gated_residual_bn_relu(
    x, branches, alpha, running_mean, running_var, weight, bias, training, eps, relu
):
    checks.residual(x, branches, alpha)
    checks.norm(x.shape[1], running_mean, running_var, weight, bias, training, eps, "x", x)
    y = reference.gated_residual(x, branches, alpha).contiguous(memory_format=layout_of(x))
    return y, *_normalise(y, running_mean, running_var, weight, bias, training, eps, relu)


@checked
def gated_residual_bn_relu_backward(
    dy, dz, y, x, alpha, mean, var, weight, bias, training, eps, relu, split, needs
):
    d, dweight, dbias = _normalise_backward(dy, dz, y, mean, var, weight, bias, training, eps, relu)
    grads = _residual_grads(d, x, alpha, split, needs[:3], y.dtype, layout_of(y))
    return grads + _affine_grads(dweight, dbias, weight, bias, needs[3:])


def bn_relu(x, running_mean, running_var, weight, bias, training, eps, relu):
    checks.activation("x", x)
    checks.norm(x.shape[1], running_mean, running_var, weight, bias, training, eps, "x", x)
    return _normalise(x, running_mean, running_var, weight, bias, training, eps, relu)


@checked
def bn_relu_backward(dz, x, mean, var, weight, bias, training, eps, relu, needs):
    d, dweight, dbias = _normalise_backward(
        None, dz, x, mean, var, weight, bias, training, eps, relu
    )
    grads = [_narrow(d, x.dtype, layout_of(x))] if needs[0] else []
    return grads + _affine_grads(dweight, dbias, weight, bias, needs[1:])


def skip_merge(skip, branches, low, alpha, mode):
    checks.merge(skip, low, alpha, mode, branches)
    merged = reference.skip_merge(skip, low, alpha, mode, branches)
    return merged.contiguous(memory_format=layout_of(skip))


@checked
def skip_merge_backward(dmerged, skip, alpha, channels, mode, split, needs):
    d = dmerged.to(accumulator(dmerged.dtype))
    layout = layout_of(dmerged)
    return _merge_grads(d, skip, alpha, channels, mode, split, needs, dmerged.dtype, layout)


def skip_merge_bn_relu(
    skip,
    branches,
    low,
    alpha,
    running_mean,
    running_var,
    weight,
    bias,
    training,
    eps,
    relu,
    mode,
):
    c = checks.merge(skip, low, alpha, mode, branches)
    checks.norm(c, running_mean, running_var, weight, bias, training, eps, "skip", skip)
    merged = skip_merge(skip, branches, low, alpha, mode)
    return merged, *_normalise(merged, running_mean, running_var, weight, bias, training, eps, relu)


@checked
def skip_merge_bn_relu_backward(
    dmerged,
    dz,
    merged,
    skip,
    alpha,
    mean,
    var,
    weight,
    bias,
    training,
    eps,
    relu,
    channels,
    mode,
    split,
    needs,
):
    d, dweight, dbias = _normalise_backward(
        dmerged, dz, merged, mean, var, weight, bias, training, eps, relu
    )
    layout = layout_of(merged)
    grads = _merge_grads(d, skip, alpha, channels, mode, split, needs[:4], merged.dtype, layout)
    return grads + _affine_grads(dweight, dbias, weight, bias, needs[4:])


for _kernel in (
    gated_residual,
    gated_residual_backward,
    gated_residual_bn_relu,
    gated_residual_bn_relu_backward,
    bn_relu,
    bn_relu_backward,
    skip_merge,
    skip_merge_backward,
    skip_merge_bn_relu,
    skip_merge_bn_relu_backward,
):
    library.impl(_kernel.__name__, _kernel, "CompositeExplicitAutograd")
