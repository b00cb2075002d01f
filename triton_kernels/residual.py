"""``gated_residual`` and ``gated_residual_bn_relu``: y = alpha * x + cat(branches).

The forward reads x and the branches by index and writes y. In training it also computes the moments of
y, and one more pass makes z from y; in evaluation it writes z too. The backward computes
d = dy + BN'(relu'(dz)) once. The gradient of x is alpha * d, those of the branches are channel ranges
of d, and that of alpha is the sum of x * d.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from softgate_ext.ops.fake import empty
from softgate_ext.ops.schema import layout_of

from .batch_norm import backward_sums, normalise
from .launch import SIZES, dense, divisor, plan_of, walk
from .reduction import gate_sum, merge_moments, no_moments, partial_rows, store_moments
from .tile import (
    begin,
    gate_of,
    norm_grad,
    norm_of,
    offset_of,
    open_of,
    per_channel,
    positions_of,
    pre_activation,
    relu,
    row_sum,
    visit,
)

# parts of a kernel that the skip merge shares


@triton.jit
def _load_part(branch, p, image, c, inside, start, end, plane, LAST: tl.constexpr):
    inside = inside & (c >= start) & (c < end)
    at = offset_of(p, image, c - start, end - start, plane, LAST)
    return tl.load(branch + at, mask=inside, other=0.0)


@triton.jit
def load_branches(
    b0, b1, b2, b3, p, image, c, inside, s1, s2, s3, channels, plane,
    BRANCHES: tl.constexpr, LAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """cat(branches) at the pixels p; branch i has the channels from s_i on."""
    e1 = s1 if BRANCHES > 1 else channels
    e2 = s2 if BRANCHES > 2 else channels
    e3 = s3 if BRANCHES > 3 else channels
    f = _load_part(b0, p, image, c, inside, 0, e1, plane, LAST).to(ACC)
    if BRANCHES > 1:
        f += _load_part(b1, p, image, c, inside, s1, e2, plane, LAST).to(ACC)
    if BRANCHES > 2:
        f += _load_part(b2, p, image, c, inside, s2, e3, plane, LAST).to(ACC)
    if BRANCHES > 3:
        f += _load_part(b3, p, image, c, inside, s3, channels, plane, LAST).to(ACC)
    return f


@triton.jit
def _store_part(d, branch, p, image, c, inside, start, end, plane, LAST: tl.constexpr):
    inside = inside & (c >= start) & (c < end)
    tl.store(branch + offset_of(p, image, c - start, end - start, plane, LAST), d, mask=inside)


@triton.jit
def store_branches(
    d, b0, b1, b2, b3, p, image, c, inside, s1, s2, s3, channels, plane,
    BRANCHES: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """Stores the channel range of d of each branch; the inverse of `load_branches`."""
    e1 = s1 if BRANCHES > 1 else channels
    e2 = s2 if BRANCHES > 2 else channels
    e3 = s3 if BRANCHES > 3 else channels
    if BRANCHES > 0:
        _store_part(d, b0, p, image, c, inside, 0, e1, plane, LAST)
    if BRANCHES > 1:
        _store_part(d, b1, p, image, c, inside, s1, e2, plane, LAST)
    if BRANCHES > 2:
        _store_part(d, b2, p, image, c, inside, s2, e3, plane, LAST)
    if BRANCHES > 3:
        _store_part(d, b3, p, image, c, inside, s3, channels, plane, LAST)


# forward kernels


@triton.jit(do_not_specialize=SIZES)
def _forward(
    x, alpha, b0, b1, b2, b3, y, partial, z, mean, var, weight, bias,
    s1, s2, s3, channels, plane, count, steps,
    BRANCHES: tl.constexpr, PART: tl.constexpr, SHARED: tl.constexpr,
    eps: tl.constexpr, RELU: tl.constexpr,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads x and the branches, and writes y; also a row of moments per group, or z, if given."""
    ACC: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    gate = gate_of(alpha, c, c < channels, SHARED, ACC)
    if z is not None:
        m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
    tiles = 1 if steps is None else steps
    start = group * tiles * BLOCK_Q
    first = positions_of(start, BLOCK_Q, LAST)
    y_mean = tl.zeros((c + first).shape, ACC)
    y_m2 = tl.zeros((c + first).shape, ACC)
    for step in range(tiles):
        q = positions_of(start + step * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        image = q // plane
        at = offset_of(q, image, c, channels, plane, LAST)
        f = load_branches(
            b0, b1, b2, b3, q, image, c, inside, s1 * PART, s2 * PART, s3 * PART, channels,
            plane, BRANCHES, LAST, ACC,
        )  # fmt: skip
        value = tl.load(x + at, mask=open_of(gate, inside, LAST), other=0.0).to(ACC)
        stored = tl.fma(gate, value, f).to(y.dtype.element_ty)
        tl.store(y + at, stored, mask=inside)
        if partial is not None:
            y_mean, y_m2 = visit(stored.to(ACC), inside, y_mean, y_m2, step + 1)
        if z is not None:
            pre = pre_activation(stored.to(ACC), m, scale, shift)
            tl.store(z + at, relu(pre) if RELU else pre, mask=inside)
    if partial is not None:
        store_moments(
            partial, y_mean, y_m2, c, first, group, groups, channels, count, tiles,
            1, BLOCK_Q, LAST,
        )  # fmt: skip


# backward kernels


@triton.jit(do_not_specialize=SIZES)
def _backward(
    dy, dz, y, mean, var, weight, bias, mean_g, slope, x, alpha, dx, b0, b1, b2, b3, partial,
    s1, s2, s3, channels, plane, count, steps,
    BRANCHES: tl.constexpr, PART: tl.constexpr, SHARED: tl.constexpr,
    eps: tl.constexpr, RELU: tl.constexpr,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads dy, (dz, y) and x, if given; writes the gradients of x and the branches, and rows of sum
    x*d."""
    element: tl.constexpr = (dy if dz is None else dz).dtype.element_ty
    ACC: tl.constexpr = tl.float64 if element == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    gate = gate_of(alpha, c, c < channels, SHARED, ACC)
    if dz is not None:
        m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
        g_mean = per_channel(mean_g, c, c < channels, 0.0, ACC)
        g_slope = per_channel(slope, c, c < channels, 0.0, ACC)
    tiles = 1 if steps is None else steps
    start = group * tiles * BLOCK_Q
    sum_xd = tl.zeros((c + positions_of(start, BLOCK_Q, LAST)).shape, ACC)
    for step in range(tiles):
        q = positions_of(start + step * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        image = q // plane
        at = offset_of(q, image, c, channels, plane, LAST)
        d = tl.zeros(sum_xd.shape, ACC)
        if dy is not None:
            d += tl.load(dy + at, mask=inside, other=0.0).to(ACC)
        if dz is not None:
            g = tl.load(dz + at, mask=inside, other=0.0).to(ACC)
            value = tl.load(y + at, mask=inside, other=0.0).to(ACC)
            d += norm_grad(g, value, m, scale, shift, g_mean, g_slope, RELU)
        if dx is not None:
            tl.store(dx + at, gate * d, mask=inside)
        store_branches(
            d, b0, b1, b2, b3, q, image, c, inside, s1 * PART, s2 * PART, s3 * PART, channels,
            plane, BRANCHES, LAST,
        )  # fmt: skip
        if partial is not None:
            sum_xd += tl.load(x + at, mask=inside, other=0.0).to(ACC) * tl.where(inside, d, 0.0)
    if partial is not None:
        tl.store(partial + group * channels + c, row_sum(sum_xd, LAST), mask=c < channels)


# launchers


def four(tensors: list[Tensor]) -> tuple[Tensor | None, ...]:
    """The tensors, filled up to four with None."""
    return *tensors, *[None] * (4 - len(tensors))


def starts(widths: list[int], channels: int, last: bool) -> tuple[int, int, int, int]:
    """The first channels of branches 1 to 3, in units of the fourth number."""
    ends = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
    part = divisor(*ends, channels) if last else 1
    s1, s2, s3 = [e // part for e in ends] + [0] * (3 - len(ends))
    return s1, s2, s3, part


def _complete(x, branches, alpha, training, norm, eps, relu):
    """y; z in evaluation, if a norm is given; the batch statistics in training; the layout."""
    layout = layout_of(x)
    x, parts = dense(x, layout), [dense(b, layout) for b in branches]
    n, channels, h, w = x.shape
    y = empty(x, x.shape, layout)
    z = empty(x, x.shape, layout) if norm is not None and not training else None
    plan = plan_of("reduce" if training else "stream", x.shape, layout, x)
    partial = partial_rows(x, plan, channels, 2) if training else None
    s1, s2, s3, part = starts([b.shape[1] for b in parts], channels, layout == torch.channels_last)
    vectors = (None,) * 4 if z is None else norm
    walk(
        _forward, plan,
        x, alpha, *four(parts), y, partial, z, *vectors, s1, s2, s3, *plan.sizes, plan.steps,
        len(parts), part, alpha is not None and alpha.shape[0] == 1, eps, relu,
    )  # fmt: skip
    batch = merge_moments(partial, plan, n * h * w) if training else no_moments(x)
    return y, z, batch, layout


def gated_residual(x, branches, alpha):
    return _complete(x, branches, alpha, False, None, 0.0, False)[0]


def gated_residual_bn_relu(
    x, branches, alpha, running_mean, running_var, weight, bias, training, eps, relu
):
    norm = (running_mean, running_var, weight, bias)
    y, z, batch, layout = _complete(x, branches, alpha, training, norm, eps, relu)
    if training:
        z = normalise(y, (*batch, weight, bias), eps, relu, layout)
    return y, z, *batch


def _hand_out(dy, norm, x, alpha, split, needs, eps, relu, like, layout):
    """The gradients of x, the branches and alpha; ``norm`` is (dz, y, ..., slope) or eight Nones."""
    n, channels, h, w = like.shape
    sums = needs[2]
    plan = plan_of("reduce" if sums else "stream", like.shape, layout, like)
    dx = empty(like, like.shape, layout) if needs[0] else None
    parts = [empty(like, (n, width, h, w), layout) for width in split] if needs[1] else []
    partial = partial_rows(like, plan, channels, 1) if sums else None
    s1, s2, s3, part = starts(split if needs[1] else [], channels, layout == torch.channels_last)
    walk(
        _backward, plan,
        dy, *norm, dense(x, layout) if sums else None, alpha, dx, *four(parts), partial,
        s1, s2, s3, *plan.sizes, plan.steps,
        len(parts), part, alpha is not None and alpha.shape[0] == 1, eps, relu,
    )  # fmt: skip
    dalpha = [gate_sum(partial, alpha)] if sums else []
    return ([] if dx is None else [dx]) + parts + dalpha


def gated_residual_backward(dy, x, alpha, split, needs):
    layout = layout_of(dy)
    dy = dense(dy, layout)
    return _hand_out(dy, (None,) * 8, x, alpha, split, needs, 0.0, False, dy, layout)


def gated_residual_bn_relu_backward(
    dy, dz, y, x, alpha, mean, var, weight, bias, training, eps, relu, split, needs
):
    layout = layout_of(y)
    dy, dz, y = dense(dy, layout), dense(dz, layout), dense(y, layout)
    norm = (mean, var, weight, bias)
    mean_g, slope, grads = backward_sums(dz, y, norm, training, eps, relu, layout, needs[3:])
    if not any(needs[:3]):
        return grads
    norm = (dz, y, *norm, mean_g, slope)
    return _hand_out(dy, norm, x, alpha, split, needs, eps, relu, y, layout) + grads
