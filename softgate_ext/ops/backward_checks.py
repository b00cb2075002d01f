"""What the backward ops accept, by the name of the op: each takes the op's own arguments.

``csrc/backward.cpp`` says the same in C++. Autograd never hands over anything else; a direct call
through ``torch.ops`` may.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.ops import checks
from softgate_ext.ops.checks import _require, _shape


def checked(kernel: Callable, name: str | None = None) -> Callable:
    """The kernel of an op, its own name's or another, behind the checks of a backward op."""
    check = globals().get(name or kernel.__name__)
    if check is None:
        return kernel

    @wraps(kernel)
    def call(*args: Any) -> Any:
        check(*args)
        return kernel(*args)

    return call


def gated_residual_backward(dy, x, alpha, split, needs) -> None:
    _flags(needs, 3)
    checks.activation("dy", dy)
    _source(dy, dy.shape[1], x, "x", alpha, split, needs[1], needs[2])


def gated_residual_bn_relu_backward(
    dy, dz, y, x, alpha, mean, var, weight, bias, training, eps, relu, split, needs
) -> None:
    _flags(needs, 5)
    _norm(dz, "y", y, mean, var, weight, bias, needs[3:])
    _twin("dy", dy, "y", y)
    _source(y, y.shape[1], x, "x", alpha, split, needs[1], needs[2])


def bn_relu_backward(dz, x, mean, var, weight, bias, training, eps, relu, needs) -> None:
    _flags(needs, 3)
    _norm(dz, "x", x, mean, var, weight, bias, needs[1:])


def skip_merge_backward(dmerged, skip, alpha, channels, mode, split, needs) -> None:
    _flags(needs, 4)
    checks.activation("dmerged", dmerged)
    _halves(dmerged, channels, mode)
    _source(dmerged, channels, skip, "skip", alpha, split, needs[1], needs[3])


def skip_merge_bn_relu_backward(
    dmerged, dz, merged, skip, alpha, mean, var, weight, bias, training, eps, relu, channels, mode,
    split, needs,
) -> None:  # fmt: skip
    _flags(needs, 6)
    _norm(dz, "merged", merged, mean, var, weight, bias, needs[4:])
    _twin("dmerged", dmerged, "merged", merged)
    _halves(merged, channels, mode)
    _source(merged, channels, skip, "skip", alpha, split, needs[1], needs[3])


def _flags(needs: Sequence[bool], takes: int) -> None:
    _require(len(needs) == takes, lambda: f"needs must have {takes} flags, got {len(needs)}")


def _twin(name: str, t: Tensor | None, owner_name: str, owner: Tensor) -> None:
    """A gradient matches its tensor in everything but the strides."""
    if t is None:
        return
    checks.like(name, t, owner_name, owner)
    _require(
        t.shape == owner.shape,
        lambda: f"{name} must have the shape of {owner_name}, {_shape(owner)}, got {_shape(t)}",
    )


def _source(y, channels, x, x_name, alpha, split, need_branches, need_alpha) -> None:
    _require(len(split) <= 4, lambda: f"split must have at most 4 entries, got {len(split)}")
    for width in split:
        if not 0 < width <= channels:
            raise InputError(f"split must be counts from 1 to {channels} channels, got {width}")
    _require(
        sum(split) == channels or (not split and not need_branches),
        lambda: f"split must add up to {channels} channels, got {sum(split)}",
    )
    checks.gate(alpha, channels, "the gradient", y)
    _require(
        not need_alpha or (alpha is not None and x is not None),
        lambda: f"alpha and {x_name} must be given where needs asks for alpha's gradient, got None",
    )
    if x is None:
        return
    checks.like(x_name, x, "the gradient", y)
    n, _, h, w = y.shape
    _require(
        x.shape == (n, channels, h, w),
        lambda: f"{x_name} must have shape ({n}, {channels}, {h}, {w}), got {_shape(x)}",
    )


def _norm(dz, y_name, y, mean, var, weight, bias, need_affine) -> None:
    checks.activation(y_name, y)
    _twin("dz", dz, y_name, y)
    for name, v in dict(mean=mean, var=var, weight=weight, bias=bias).items():
        checks.vector(name, v, y.shape[1], y_name, y)
    need_weight, need_bias = need_affine
    _require(
        not (need_weight and weight is None) and not (need_bias and bias is None),
        lambda: "weight and bias must be given where needs asks for their gradients, got None",
    )


def _halves(merged: Tensor, channels: int, mode: str) -> None:
    checks.how(mode)
    _require(
        merged.shape[2] % 2 == 0 and merged.shape[3] % 2 == 0,
        lambda: f"merged must have an even height and width, got shape {_shape(merged)}",
    )
    total = merged.shape[1]
    _require(
        0 < channels < total if mode == "concat" else channels == total,
        lambda: (
            f"channels must be the channels of skip, within the {total} of merged, got {channels}"
        ),
    )
