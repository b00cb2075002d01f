"""The dispatcher ops in plain tensor code, for devices and builds without a compiled kernel.

They are registered for every device with a lower priority than the compiled kernels, so that
``torch.ops.softgate.*`` works without a C++ compiler. The backward formulas are those of
``csrc/math.h``.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softgate_ext.ops import reference
from softgate_ext.ops.call_checks import check_call
from softgate_ext.ops.schema import (
    SCHEMAS,
    Call,
    accumulator,
    layout_of,
    library,
    results,
    wanted_gradients,
)

_AXES = (0, 2, 3)


def _per_channel(v: Tensor) -> Tensor:
    return v.view(1, -1, 1, 1)


def _normalise(c: Call, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulator(y.dtype)
    wide = y.to(dtype)
    if c.training:
        if y.numel():
            var, mean = torch.var_mean(wide, _AXES, correction=0)
        else:
            mean, var = wide.new_zeros(y.shape[1]), wide.new_ones(y.shape[1])
    else:
        mean, var = c.running_mean.to(dtype), c.running_var.to(dtype)
    z = _pre_activation(c, wide, mean, var)
    z = F.relu(z) if c.relu else z
    z = z.to(y.dtype).contiguous(memory_format=layout_of(y))
    return (z, mean, var) if c.training else (z, wide.new_empty(0), wide.new_empty(0))


def _pre_activation(c: Call, wide: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    scale = torch.rsqrt(var + c.eps)
    if c.weight is not None:
        scale = scale * c.weight.to(scale.dtype)
    z = (wide - _per_channel(mean)) * _per_channel(scale)
    return z if c.bias is None else z + _per_channel(c.bias.to(scale.dtype))


def _normalise_backward(c: Call) -> tuple[Tensor, Tensor, Tensor]:
    """``dy + BN'(relu'(dz))`` and the gradients of weight and bias, in the accumulation dtype."""
    dtype = accumulator(c.y.dtype)
    mean, var = c.mean.to(dtype), c.var.to(dtype)
    wide, g = c.y.to(dtype), c.dz.to(dtype)
    if c.relu:
        g = torch.where(_pre_activation(c, wide, mean, var) <= 0, 0, g)
    rstd = torch.rsqrt(var + c.eps)
    normal = (wide - _per_channel(mean)) * _per_channel(rstd)
    dbias, dweight = g.sum(_AXES), (g * normal).sum(_AXES)
    scale = rstd if c.weight is None else rstd * c.weight.to(dtype)
    if c.training and c.y.numel():
        count = c.y.numel() / c.y.shape[1]
        g = g - _per_channel(dbias / count) - normal * _per_channel(dweight / count)
    d = g * _per_channel(scale)
    return (d if c.dy is None else d + c.dy.to(dtype)), dweight, dbias


def _sum(c: Call) -> Tensor:
    """y: the gated sum or the merge, or x for an op without a sum."""
    if not c.sums:
        return c.x
    if c.low is None:
        y = reference.gated_residual(c.x, c.branches, c.alpha)
    else:
        y = reference.skip_merge(c.x, c.low, c.alpha, mode=c.mode, branches=c.branches)
    return y.contiguous(memory_format=layout_of(c.x))


def _forward(c: Call) -> Any:
    y = _sum(c)
    z, mean, var = _normalise(c, y) if c.normalises else (None, None, None)
    return results(c.op, y=lambda: y, z=lambda: z, mean=lambda: mean, var=lambda: var)


def _children(d: Tensor) -> Tensor:
    """The gradient of nearest 2x upsampling: (N, C, H, W) to (N, C, H/2, W/2), sums of 2 x 2 pixels."""
    n, channels, h, w = d.shape
    return d.reshape(n, channels, h // 2, 2, w // 2, 2).sum((3, 5))


def _backward(c: Call, channels: int) -> list[Tensor]:
    like = c.dy if c.y is None else c.y
    sums: list[Tensor] = []  # the gradients of weight and bias
    if c.normalises:
        d, *sums = _normalise_backward(c)
    else:
        d = c.dy.to(accumulator(like.dtype))
    left, low = d[:, :channels], d[:, channels:] if c.mode == "concat" else d

    def narrow(t: Tensor) -> Tensor:
        return t.to(like.dtype, copy=True).contiguous(memory_format=layout_of(like))

    def gate() -> Tensor:
        each = (c.x.to(d.dtype) * left).sum(_AXES)
        each = each if c.alpha.numel() == channels else each.sum(0, keepdim=True)
        return each.to(c.alpha.dtype)

    return wanted_gradients(
        c,
        x=lambda: narrow(left if c.alpha is None else left * _per_channel(c.alpha.to(d.dtype))),
        branches=lambda: [narrow(part) for part in left.split(list(c.split), dim=1)],
        low=lambda: narrow(_children(low)),
        alpha=gate,
        weight=lambda: sums[0].to(c.weight.dtype),
        bias=lambda: sums[1].to(c.bias.dtype),
    )


def serve(op: str, *args: Any) -> Any:
    """Runs the op of this name.

    Raises:
        InputError: an argument does not fit.
    """
    c = Call(op, args)
    channels = check_call(c)
    return _forward(c) if c.needs is None else _backward(c, channels)


kernels = SimpleNamespace(**{op: partial(serve, op) for op in SCHEMAS})
for _op, _kernel in vars(kernels).items():
    library.impl(_op, _kernel, "CompositeExplicitAutograd")
