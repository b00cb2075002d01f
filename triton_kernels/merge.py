"""``skip_merge`` and ``skip_merge_bn_relu``: the gated skip merged with a ``low`` of half the size.

The nearest 2x upsampling is done by index. A program visits all pixels above its values of ``low``. It
therefore reads each value once, and sums its gradient without other programs. ``side`` is the number
of channels of the skip: all channels in mode "add", and the first ones in mode "concat", before those
of ``low``.
"""

import torch
import triton
import triton.language as tl

from softgate_ext.ops.fake import empty
from softgate_ext.ops.schema import layout_of

from .batch_norm import backward_sums, normalise
from .launch import SIZES, dense, divisor, plan_of, walk
from .reduction import gate_sum, merge_moments, no_moments, partial_rows, store_moments
from .residual import four, load_branches, starts, store_branches
from .tile import (
    begin,
    gate_of,
    gather,
    low_tile,
    norm_grad,
    norm_of,
    offset_of,
    open_of,
    per_channel,
    pixel_of,
    positions_of,
    pre_activation,
    relu,
    row_sum,
    spread,
    visit,
)

# forward kernels


@triton.jit(do_not_specialize=SIZES)
def _forward(
    x, alpha, b0, b1, b2, b3, low, y, partial, z, mean, var, weight, bias,
    s1, s2, s3, side, channels, plane, width, low_plane, count, steps,
    BRANCHES: tl.constexpr, PART: tl.constexpr, LOW_DIV: tl.constexpr,
    CONCAT: tl.constexpr, SHARED: tl.constexpr, eps: tl.constexpr, RELU: tl.constexpr,
    CHILDREN: tl.constexpr, DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads x, the branches and low, and writes y; also a row of moments per group, or z, if given."""
    ACC: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    width *= 1 if LAST else DIV
    side *= PART
    left = c < (side if CONCAT else channels)
    gate = gate_of(alpha, c, left, SHARED, ACC)
    if z is not None:
        m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
    tiles = 1 if steps is None else steps
    start = group * tiles
    first = positions_of(start * BLOCK_Q, BLOCK_Q, LAST)
    y_mean = tl.zeros((c + first).shape, ACC)
    y_m2 = tl.zeros((c + first).shape, ACC)
    for step in range(tiles):
        index = start + step
        q = positions_of(index * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        image = q // plane
        low_at, low_inside = low_tile(
            index, c, count, side, channels, low_plane * LOW_DIV, CONCAT, LAST, BLOCK_Q
        )
        below = tl.load(low + low_at, mask=low_inside, other=0.0).to(ACC)
        up = spread(below, LAST, BLOCK_C, BLOCK_Q)
        for child in tl.static_range(CHILDREN):
            p = pixel_of(q, child, width, CHILDREN)
            at_x = offset_of(p, image, c, side, plane * CHILDREN, LAST)
            value = tl.load(x + at_x, mask=open_of(gate, inside & left, LAST), other=0.0).to(ACC)
            f = up
            if BRANCHES > 0:
                f += load_branches(
                    b0, b1, b2, b3, p, image, c, inside, s1 * PART, s2 * PART, s3 * PART, side,
                    plane * CHILDREN, BRANCHES, LAST, ACC,
                )  # fmt: skip
            stored = tl.fma(gate, value, f).to(y.dtype.element_ty)
            at = offset_of(p, image, c, channels, plane * CHILDREN, LAST)
            tl.store(y + at, stored, mask=inside)
            if partial is not None:
                y_mean, y_m2 = visit(
                    stored.to(ACC), inside, y_mean, y_m2, step * CHILDREN + child + 1
                )
            if z is not None:
                pre = pre_activation(stored.to(ACC), m, scale, shift)
                tl.store(z + at, relu(pre) if RELU else pre, mask=inside)
    if partial is not None:
        store_moments(
            partial, y_mean, y_m2, c, first, group, groups, channels, count, tiles,
            CHILDREN, BLOCK_Q, LAST,
        )  # fmt: skip


# backward kernels


@triton.jit(do_not_specialize=SIZES)
def _backward(
    dy, dz, y, mean, var, weight, bias, mean_g, slope, x, alpha, dx, b0, b1, b2, b3, low, partial,
    s1, s2, s3, side, channels, plane, width, low_plane, count, steps,
    BRANCHES: tl.constexpr, PART: tl.constexpr, LOW_DIV: tl.constexpr,
    CONCAT: tl.constexpr, SHARED: tl.constexpr, eps: tl.constexpr, RELU: tl.constexpr,
    CHILDREN: tl.constexpr, DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Reads dy, (dz, y) and x, if given; writes the gradients of x, the branches and low, and rows of
    sum x*d."""
    element: tl.constexpr = (dy if dz is None else dz).dtype.element_ty
    ACC: tl.constexpr = tl.float64 if element == tl.float64 else tl.float32
    channels, plane, count, c, group, groups = begin(
        channels, plane, count, DIV, LAST, WIDE, BLOCK_C
    )
    width *= 1 if LAST else DIV
    side *= PART
    left = c < (side if CONCAT else channels)
    gate = gate_of(alpha, c, left, SHARED, ACC)
    if dz is not None:
        m, scale, shift = norm_of(mean, var, weight, bias, c, c < channels, eps, ACC)
        g_mean = per_channel(mean_g, c, c < channels, 0.0, ACC)
        g_slope = per_channel(slope, c, c < channels, 0.0, ACC)
    tiles = 1 if steps is None else steps
    start = group * tiles
    sum_xd = tl.zeros((c + positions_of(start * BLOCK_Q, BLOCK_Q, LAST)).shape, ACC)
    for step in range(tiles):
        index = start + step
        q = positions_of(index * BLOCK_Q, BLOCK_Q, LAST)
        inside = (q < count) & (c < channels)
        image = q // plane
        sum_d = tl.zeros(sum_xd.shape, ACC)
        for pair in range(CHILDREN // 2):  # unrolled by two, because four would spill registers
            for second in tl.static_range(2):
                child = 2 * pair + second
                p = pixel_of(q, child, width, CHILDREN)
                at = offset_of(p, image, c, channels, plane * CHILDREN, LAST)
                d = tl.zeros(sum_xd.shape, ACC)
                if dy is not None:
                    d += tl.load(dy + at, mask=inside, other=0.0).to(ACC)
                if dz is not None:
                    g = tl.load(dz + at, mask=inside, other=0.0).to(ACC)
                    value = tl.load(y + at, mask=inside, other=0.0).to(ACC)
                    d += norm_grad(g, value, m, scale, shift, g_mean, g_slope, RELU)
                at_x = offset_of(p, image, c, side, plane * CHILDREN, LAST)
                if dx is not None:
                    tl.store(dx + at_x, gate * d, mask=inside & left)
                store_branches(
                    d, b0, b1, b2, b3, p, image, c, inside, s1 * PART, s2 * PART, s3 * PART, side,
                        plane * CHILDREN, BRANCHES, LAST,
                )  # fmt: skip
                if partial is not None:
                    value = tl.load(x + at_x, mask=inside & left, other=0.0).to(ACC)
                    sum_xd += value * tl.where(inside & left, d, 0.0)
                sum_d += d
        if low is not None:
            low_at, low_inside = low_tile(
                index, c, count, side, channels, low_plane * LOW_DIV, CONCAT, LAST, BLOCK_Q
            )
            tl.store(low + low_at, gather(sum_d, LAST, BLOCK_C, BLOCK_Q), mask=low_inside)
    if partial is not None:
        tl.store(partial + group * side + c, row_sum(sum_xd, LAST), mask=left)


# launchers

_REGISTERS = 168  # of a thread, so that a multiprocessor holds three blocks of 128 threads


def _sizes(plan, split, side, shape, last, concat):
    """The sizes that both kernels take, followed by their constants."""
    _, _, h, w = shape
    s1, s2, s3, part = starts(split, side, last)
    channels, plane, count = plan.sizes
    low_plane = h // 2 * (w // 2)
    low_div = 1 if last else divisor(low_plane)
    width = w if last else w // plan.layout[0]
    sizes = (s1, s2, s3, side // part, channels, plane, width, low_plane // low_div, count)
    return (*sizes, plan.steps, len(split), part, low_div, concat)


def _complete(skip, branches, low, alpha, training, norm, eps, relu, mode):
    """merged; z in evaluation, if a norm is given; the batch statistics in training; the layout."""
    total = skip.shape[1] + (low.shape[1] if mode == "concat" else 0)
    layout = layout_of(skip)
    last = layout == torch.channels_last
    skip, low, parts = dense(skip, layout), dense(low, layout), [dense(b, layout) for b in branches]
    n, side, h, w = skip.shape
    shape = (n, total, h, w)
    merged = empty(skip, shape, layout)
    z = empty(skip, shape, layout) if norm is not None and not training else None
    children = 4 if last else 2
    kind = "reduce" if training else "stream"
    plan = plan_of(kind, shape, layout, skip, children)
    partial = partial_rows(skip, plan, total, 2) if training else None
    vectors = (None,) * 4 if z is None else norm
    walk(
        _forward, plan,
        skip, alpha, *four(parts), low, merged, partial, z, *vectors,
        *_sizes(plan, [b.shape[1] for b in parts], side, shape, last, mode == "concat"),
        alpha is not None and alpha.shape[0] == 1, eps, relu, children,
        registers=_REGISTERS,
    )  # fmt: skip
    batch = merge_moments(partial, plan, n * h * w) if training else no_moments(skip)
    return merged, z, batch, layout


def skip_merge(skip, branches, low, alpha, mode):
    return _complete(skip, branches, low, alpha, False, None, 0.0, False, mode)[0]


def skip_merge_bn_relu(
    skip, branches, low, alpha, running_mean, running_var, weight, bias, training, eps, relu, mode
):
    norm = (running_mean, running_var, weight, bias)
    merged, z, batch, layout = _complete(
        skip, branches, low, alpha, training, norm, eps, relu, mode
    )
    if training:
        z = normalise(merged, (*batch, weight, bias), eps, relu, layout)
    return merged, z, *batch


def _hand_out(dy, norm, x, alpha, side, mode, split, needs, eps, relu, like, layout):
    """The gradients of skip, the branches, low and alpha; ``norm`` is as in residual.py."""
    n, total, h, w = like.shape
    last = layout == torch.channels_last
    sums, concat = needs[3], mode == "concat"
    children = 4 if last else 2
    plan = plan_of("reduce" if sums else "stream", like.shape, layout, like, children)
    dx = empty(like, (n, side, h, w), layout) if needs[0] else None
    split = split if needs[1] else []
    parts = [empty(like, (n, width, h, w), layout) for width in split]
    low_shape = (n, total - side if concat else total, h // 2, w // 2)
    dlow = empty(like, low_shape, layout) if needs[2] else None
    partial = partial_rows(like, plan, side, 1) if sums else None
    walk(
        _backward, plan,
        dy, *norm, dense(x, layout) if sums else None, alpha, dx, *four(parts), dlow, partial,
        *_sizes(plan, split, side, like.shape, last, concat),
        alpha is not None and alpha.shape[0] == 1, eps, relu, children,
        registers=_REGISTERS,
    )  # fmt: skip
    grads = [*([] if dx is None else [dx]), *parts, *([] if dlow is None else [dlow])]
    return grads + ([gate_sum(partial, alpha)] if sums else [])


def skip_merge_backward(dmerged, skip, alpha, channels, mode, split, needs):
    layout = layout_of(dmerged)
    dy = dense(dmerged, layout)
    norm = (None,) * 8
    return _hand_out(dy, norm, skip, alpha, channels, mode, split, needs, 0.0, False, dy, layout)


def skip_merge_bn_relu_backward(
    dmerged, dz, merged, skip, alpha, mean, var, weight, bias, training, eps, relu, channels, mode,
    split, needs,
):  # fmt: skip
    layout = layout_of(merged)
    dy, dz, merged = dense(dmerged, layout), dense(dz, layout), dense(merged, layout)
    norm = (mean, var, weight, bias)
    mean_g, slope, grads = backward_sums(dz, merged, norm, training, eps, relu, layout, needs[4:])
    if not any(needs[:4]):
        return grads
    norm = (dz, merged, *norm, mean_g, slope)
    source = _hand_out(
        dy, norm, skip, alpha, channels, mode, split, needs, eps, relu, merged, layout
    )
    return source + grads
