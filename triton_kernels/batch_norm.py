"""``bn_relu``, and the passes of the batch norm that the other ops use too.

The forward in training reads x for its moments, and again to normalise it. The backward reads (dz, x)
for the two sums, and again to write dx. Evaluation needs no statistics, and its backward needs sums
only for the gradients of weight and bias.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from softgate_ext.ops.fake import empty
from softgate_ext.ops.schema import layout_of

from .launch import SIZES, dense, plan_of, walk
from .reduction import merge_moments, no_moments, norm_sums, partial_rows, store_moments
from .tile import (
    begin,
    norm_grad,
    norm_of,
    offset_of,
    per_channel,
    positions_of,
    pre_activation,
    relu,
    relu_grad,
    row_sum,
    visit,
)

# forward kernels


@triton.jit(do_not_specialize=SIZES)
def _statistics(
    x, partial, channels, plane, count, steps,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads x and writes a row of moments per group."""
    ACC: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    start = group * steps * BLOCK_Q
    first = positions_of(start, BLOCK_Q, LAST)
    mean = tl.zeros((c + first).shape, ACC)
    m2 = tl.zeros((c + first).shape, ACC)
    for step in range(steps):
        q = positions_of(start + step * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        at = offset_of(q, q // plane, c, channels, plane, LAST)
        value = tl.load(x + at, mask=inside, other=0.0).to(ACC)
        mean, m2 = visit(value, inside, mean, m2, step + 1)
    store_moments(
        partial, mean, m2, c, first, group, groups, channels, count, steps, 1, BLOCK_Q, LAST
    )


@triton.jit(do_not_specialize=SIZES)
def _normalise(
    y, z, mean, var, weight, bias, channels, plane, count,
    eps: tl.constexpr, RELU: tl.constexpr,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads y and writes z."""
    ACC: tl.constexpr = tl.float64 if y.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, _ = begin(channels, plane, count, DIV, LAST, WIDE, BLOCK_C)
    m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
    q = positions_of(group * BLOCK_Q, BLOCK_Q, LAST)
    inside = (q < count) & (c < channels)
    at = offset_of(q, q // plane, c, channels, plane, LAST)
    pre = pre_activation(tl.load(y + at, mask=inside, other=0.0).to(ACC), m, scale, shift)
    tl.store(z + at, relu(pre) if RELU else pre, mask=inside)


# backward kernels


@triton.jit(do_not_specialize=SIZES)
def _sums(
    dz, y, mean, var, weight, bias, partial, channels, plane, count, steps,
    eps: tl.constexpr, RELU: tl.constexpr,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads dz and y, and writes for each group a row of sum g and a row of sum g*(y - mean)."""
    ACC: tl.constexpr = tl.float64 if y.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
    start = group * steps * BLOCK_Q
    first = positions_of(start, BLOCK_Q, LAST)
    sum_g = tl.zeros((c + first).shape, ACC)
    sum_gy = tl.zeros((c + first).shape, ACC)
    for step in range(steps):
        q = positions_of(start + step * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        at = offset_of(q, q // plane, c, channels, plane, LAST)
        g = tl.load(dz + at, mask=inside, other=0.0).to(ACC)
        value = tl.load(y + at, mask=inside, other=0.0).to(ACC)
        if RELU:
            g = relu_grad(g, pre_activation(value, m, scale, shift))
        sum_g += g
        sum_gy += g * (value - m)
    row = partial + group * channels + c
    tl.store(row, row_sum(sum_g, LAST), mask=c < channels)
    tl.store(row + groups * channels, row_sum(sum_gy, LAST), mask=c < channels)


@triton.jit(do_not_specialize=SIZES)
def _backward(
    dz, x, mean, var, weight, bias, mean_g, slope, dx, channels, plane, count,
    eps: tl.constexpr, RELU: tl.constexpr,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads dz and x, and writes dx."""
    ACC: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, _ = begin(channels, plane, count, DIV, LAST, WIDE, BLOCK_C)
    m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
    g_mean = per_channel(mean_g, c, c < channels, 0.0, ACC)
    g_slope = per_channel(slope, c, c < channels, 0.0, ACC)
    q = positions_of(group * BLOCK_Q, BLOCK_Q, LAST)
    inside = (q < count) & (c < channels)
    at = offset_of(q, q // plane, c, channels, plane, LAST)
    g = tl.load(dz + at, mask=inside, other=0.0).to(ACC)
    value = tl.load(x + at, mask=inside, other=0.0).to(ACC)
    tl.store(dx + at, norm_grad(g, value, m, scale, shift, g_mean, g_slope, RELU), mask=inside)


# launchers

Norm = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # mean, var, weight, bias


def moments(x: Tensor, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    """The mean and the biased variance (C,) of a dense x (N, C, H, W)."""
    n, channels, h, w = x.shape
    plan = plan_of("reduce", x.shape, layout, x)
    partial = partial_rows(x, plan, channels, 2)
    walk(_statistics, plan, x, partial, *plan.sizes, plan.steps)
    return merge_moments(partial, plan, n * h * w)


def normalise(y: Tensor, norm: Norm, eps: float, relu: bool, layout: torch.memory_format) -> Tensor:
    """z = relu(batch_norm(y)) of a dense y (N, C, H, W)."""
    z = empty(y, y.shape, layout)
    plan = plan_of("stream", y.shape, layout, y)
    walk(_normalise, plan, y, z, *norm, *plan.sizes, eps, relu)
    return z


def backward_sums(
    dz: Tensor,
    y: Tensor,
    norm: Norm,
    training: bool,
    eps: float,
    relu: bool,
    layout: torch.memory_format,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
    """mean_g and slope, None in evaluation; and the required gradients of weight and bias."""
    if not (training or any(needs)):
        return None, None, []
    n, channels, h, w = y.shape
    plan = plan_of("reduce", y.shape, layout, y)
    partial = partial_rows(y, plan, channels, 2)
    walk(_sums, plan, dz, y, *norm, partial, *plan.sizes, plan.steps, eps, relu)
    return norm_sums(partial, norm, training, eps, n * h * w, needs)


def bn_relu(x, running_mean, running_var, weight, bias, training, eps, relu):
    layout = layout_of(x)
    x = dense(x, layout)
    batch = moments(x, layout) if training else no_moments(x)
    mean, var = batch if training else (running_mean, running_var)
    return normalise(x, (mean, var, weight, bias), eps, relu, layout), *batch


def bn_relu_backward(dz, x, mean, var, weight, bias, training, eps, relu, needs):
    layout = layout_of(x)
    x, dz = dense(x, layout), dense(dz, layout)
    norm = (mean, var, weight, bias)
    mean_g, slope, grads = backward_sums(dz, x, norm, training, eps, relu, layout, needs[1:])
    if not needs[0]:
        return grads
    dx = empty(x, x.shape, layout)
    plan = plan_of("stream", x.shape, layout, x)
    walk(_backward, plan, dz, x, *norm, mean_g, slope, dx, *plan.sizes, eps, relu)
    return [dx, *grads]
