"""The second stage of all reductions: the partial results of the groups are merged in a fixed order.

In the first stage each program writes one row of partial results, to (2, groups, channels) or (groups,
channels). The number of groups depends on the shape and the kind of device alone. There are no atomics,
so that the same input gives the same bits.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from softgate_ext.ops.schema import accumulator as accumulator_dtype

from .launch import Plan, launch
from .tile import channels_of, merged, per_channel, reciprocal_std

_BLOCK_G, _BLOCK_C = 64, 16


@triton.jit
def store_moments(
    partial, mean, m2, c, q, group, groups, channels, count, steps,
    CHILDREN: tl.constexpr, BLOCK_Q: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """Merges the positions of a group and writes its row; ``q`` are the positions of its first tile."""
    visits = tl.minimum(tl.maximum(tl.cdiv(count - q, BLOCK_Q), 0), steps) * CHILDREN
    _, mean, m2 = merged(visits.to(mean.dtype), mean, m2, 0 if LAST else 1)
    row = partial + group * channels + c
    tl.store(row, mean, mask=c < channels)
    tl.store(row + groups * channels, m2, mask=c < channels)


@triton.jit(do_not_specialize=["channels", "groups", "size", "total"])
def _merge_moments(
    partial, mean, var, channels, groups, size, total,
    BLOCK_G: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Mean and biased variance of ``total`` values in groups of ``size``; the last may be smaller."""
    ACC: tl.constexpr = tl.float64 if partial.dtype.element_ty == tl.float64 else tl.float32
    c = channels_of(tl.program_id(0), BLOCK_C, True)
    m = tl.zeros((1, BLOCK_C), ACC)
    m2 = tl.zeros((1, BLOCK_C), ACC)
    n = tl.zeros((1, 1), ACC)
    for start in range(0, groups, BLOCK_G):
        g = start + tl.arange(0, BLOCK_G)[:, None]
        inside = (g < groups) & (c < channels)
        row = partial + g * channels + c
        counts = tl.minimum(tl.maximum(total - g.to(tl.int64) * size, 0), size).to(ACC)
        block_n, block_m, block_m2 = merged(
            counts,
            tl.load(row, mask=inside, other=0.0),
            tl.load(row + groups * channels, mask=inside, other=0.0),
            0,
        )
        delta = block_m - m
        share = block_n / (n + block_n)
        m += delta * share
        m2 += block_m2 + delta * (delta * n * share)
        n += block_n
    tl.store(mean + c, m, mask=c < channels)
    tl.store(var + c, m2 / n, mask=c < channels)


@triton.jit
def _sum(partial, c, channels, groups, BLOCK_G: tl.constexpr, ACC: tl.constexpr):
    total = tl.zeros(c.shape, ACC)
    for start in range(0, groups, BLOCK_G):
        g = start + tl.arange(0, BLOCK_G)[:, None]
        inside = (g < groups) & (c < channels)
        rows = tl.load(partial + g * channels + c, mask=inside, other=0.0)
        total += tl.sum(rows, 0, keep_dims=True)
    return total


@triton.jit(do_not_specialize=["channels", "groups", "count"])
def _norm_sums(
    partial, var, mean_g, slope, dweight, dbias, channels, groups, count,
    eps: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From sum g and sum g*(y - mean): mean_g and slope for norm_grad, and the gradients of weight and
    bias."""
    ACC: tl.constexpr = tl.float64 if partial.dtype.element_ty == tl.float64 else tl.float32
    c = channels_of(tl.program_id(0), BLOCK_C, True)
    inside = c < channels
    g = _sum(partial, c, channels, groups, BLOCK_G, ACC)
    gy = _sum(partial + groups * channels, c, channels, groups, BLOCK_G, ACC)
    rstd = reciprocal_std(per_channel(var, c, inside, 1.0, ACC), eps)
    if mean_g is not None:
        n = count.to(ACC)
        tl.store(mean_g + c, g / n, mask=inside)
        tl.store(slope + c, gy / n * rstd * rstd, mask=inside)
    if dweight is not None:
        tl.store(dweight + c, gy * rstd, mask=inside)
    if dbias is not None:
        tl.store(dbias + c, g, mask=inside)


@triton.jit(do_not_specialize=["channels", "groups"])
def _sum_groups(partial, out, channels, groups, BLOCK_G: tl.constexpr, BLOCK_C: tl.constexpr):
    ACC: tl.constexpr = tl.float64 if partial.dtype.element_ty == tl.float64 else tl.float32
    c = channels_of(tl.program_id(0), BLOCK_C, True)
    total = _sum(partial, c, channels, groups, BLOCK_G, ACC)
    tl.store(out + c, total, mask=c < channels)


def _grid(channels: int) -> tuple[int]:
    return (-(-channels // _BLOCK_C),)


def partial_rows(like: Tensor, plan: Plan, channels: int, rows: int) -> Tensor:
    """An empty tensor for the first stage: (rows, groups, channels) in the accumulation dtype."""
    return like.new_empty((rows, plan.groups, channels), dtype=accumulator_dtype(like.dtype))


def no_moments(like: Tensor) -> tuple[Tensor, Tensor]:
    """The empty batch statistics that evaluation returns."""
    dtype = accumulator_dtype(like.dtype)
    return like.new_empty(0, dtype=dtype), like.new_empty(0, dtype=dtype)


def merge_moments(partial: Tensor, plan: Plan, total: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (channels,) of ``total`` values, from partial (2, groups, channels)."""
    _, groups, channels = partial.shape
    mean, var = partial.new_empty(channels), partial.new_empty(channels)
    args = (partial, mean, var, channels, groups, plan.group_size, total, _BLOCK_G, _BLOCK_C)
    launch(_merge_moments, _grid(channels), args, 4)
    return mean, var


def norm_sums(
    partial: Tensor,
    norm: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    training: bool,
    eps: float,
    total: int,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
    """mean_g and slope for norm_grad, None in evaluation; and the required of (dweight, dbias)."""
    _, var, weight, bias = norm
    _, groups, channels = partial.shape
    mean_g = partial.new_empty(channels) if training else None
    slope = partial.new_empty(channels) if training else None
    dweight = torch.empty_like(weight) if needs[0] and weight is not None else None
    dbias = torch.empty_like(bias) if needs[1] and bias is not None else None
    sizes = (channels, groups, total, eps, _BLOCK_G, _BLOCK_C)
    args = (partial, var, mean_g, slope, dweight, dbias, *sizes)
    launch(_norm_sums, _grid(channels), args, 4)
    return mean_g, slope, [d for d in (dweight, dbias) if d is not None]


def gate_sum(partial: Tensor, alpha: Tensor) -> Tensor:
    """The gradient of alpha from partial (1, groups, channels); for a shared alpha, the sum of all."""
    _, groups, channels = partial.shape
    if alpha.numel() != channels:
        groups, channels = groups * channels, 1
    dalpha = torch.empty_like(alpha)
    args = (partial, dalpha, channels, groups, _BLOCK_G, _BLOCK_C)
    launch(_sum_groups, _grid(channels), args, 4)
    return dalpha
