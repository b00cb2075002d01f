"""What each op accepts: the arguments of one whole call, forward or backward.

Every check has its counterpart in ``csrc/checks.h`` (see :mod:`softgate_ext.ops.checks`).
"""

from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.ops.checks import (
    activation,
    gate,
    like,
    mode,
    require,
    shape_of,
    twin,
    vector,
)
from softgate_ext.ops.schema import Call, differentiable


def check_call(c: Call) -> int:
    """Checks all arguments of a call.

    Returns:
        The channels of ``x``; for the forward of a merge, the channels of its result.

    Raises:
        InputError: a shape, dtype, device or value does not fit.
    """
    return _backward(c) if c.needs is not None else _forward(c)


def _forward(c: Call) -> int:
    if c.low is not None:
        channels = _merge(c)
    elif c.sums:
        channels = _residual(c, 1)
    else:
        activation("x", c.x)
        channels = c.x.shape[1]
    if c.normalises:
        _norm(c, channels)
    return channels


def _residual(c: Call, least: int) -> int:
    """Checks ``alpha * x + cat(branches)``: ``least`` to 4 branches whose channels add up to x's."""
    name = c.names["x"]
    activation(name, c.x)
    n, channels, h, w = c.x.shape
    require(
        least <= len(c.branches) <= 4,
        lambda: f"branches must be {least} to 4 tensors, got {len(c.branches)}",
    )
    total = 0
    for i, b in enumerate(c.branches):
        who = f"branches[{i}]"
        activation(who, b)
        like(who, b, name, c.x)
        if not (b.shape[0] == n and b.shape[2] == h and b.shape[3] == w):
            raise InputError(
                f"{who} must have shape ({n}, *, {h}, {w}) as {name}, got {shape_of(b)}"
            )
        total += b.shape[1]
    require(
        not c.branches or total == channels,
        lambda: f"branches must have {channels} channels in all, as {name}, got {total}",
    )
    gate(c.alpha, channels, name, c.x)
    return channels


def _merge(c: Call) -> int:
    """Checks a skip and ``low``, which is half as high and wide."""
    mode(c.mode)
    channels = _residual(c, 0)
    skip, low = c.x, c.low
    activation("low", low)
    like("low", low, "skip", skip)
    n, _, h, w = skip.shape
    require(
        low.shape[0] == n and low.shape[2] * 2 == h and low.shape[3] * 2 == w,
        lambda: f"low must be half as high and wide as skip {shape_of(skip)}, got {shape_of(low)}",
    )
    if c.mode == "concat":
        return channels + low.shape[1]
    require(
        low.shape[1] == channels,
        lambda: f"low must have the {channels} channels of skip in mode 'add', got {low.shape[1]}",
    )
    return channels


def _norm(c: Call, channels: int) -> None:
    """Checks the arguments that ``torch.nn.functional.batch_norm`` has too."""
    for name in ("running_mean", "running_var", "weight", "bias"):
        vector(name, getattr(c, name), channels, c.names["x"], c.x)
    for name in ("running_mean", "running_var"):
        own = getattr(c, name)
        require(
            not c.training or own is None or channels == 1 or own.stride(0) != 0,
            lambda name=name: (  # type: ignore[misc]
                f"{name} must have memory of its own for each channel, got an expanded tensor"
            ),
        )
    alike = (c.running_mean is None) == (c.running_var is None)
    takes = "running_mean and running_var must be given together or both be None, got one of them"
    require(alike, lambda: takes)
    require(
        c.training or c.running_mean is not None,
        lambda: "running_mean and running_var must be given when training=False, got None",
    )
    require(
        c.eps > 0 if c.training else c.eps >= 0,
        lambda: (
            f"eps must be {'positive during training' if c.training else 'non-negative'}, "
            f"got {c.eps:g}"
        ),
    )
    if c.training:
        n, _, h, w = c.x.shape
        size = f"torch.Size([{n}, {channels}, {h}, {w}])"
        require(
            n * h * w != 1,
            lambda: f"Expected more than 1 value per channel when training, got input size {size}",
        )


def _backward(c: Call) -> int:
    takes = len(differentiable(c.op))
    require(len(c.needs) == takes, lambda: f"needs must have {takes} flags, got {len(c.needs)}")
    if c.normalises:
        y, y_name = c.y, c.names["y"]
        activation(y_name, y)
        twin("dz", c.dz, y_name, y)
        for name in ("mean", "var", "weight", "bias"):
            vector(name, getattr(c, name), y.shape[1], y_name, y)
        need_weight, need_bias = c.needs[-2:]
        require(
            not (need_weight and c.weight is None) and not (need_bias and c.bias is None),
            lambda: "weight and bias must be given where needs asks for their gradients, got None",
        )
        if c.dy is not None:
            twin(c.names["dy"], c.dy, y_name, y)
    else:
        y = c.dy
        activation(c.names["dy"], y)
    channels = y.shape[1] if c.mode is None else _skip_channels(c, y)
    if c.sums:
        _residual_backward(c, y, channels)
    return channels


def _skip_channels(c: Call, merged: Tensor) -> int:
    mode(c.mode)
    require(
        merged.shape[2] % 2 == 0 and merged.shape[3] % 2 == 0,
        lambda: f"merged must have an even height and width, got shape {shape_of(merged)}",
    )
    total = merged.shape[1]
    require(
        0 < c.channels < total if c.mode == "concat" else c.channels == total,
        lambda: (
            f"channels must be the channels of skip, within the {total} of merged, got {c.channels}"
        ),
    )
    return c.channels


def _residual_backward(c: Call, y: Tensor, channels: int) -> None:
    split, x, x_name = c.split, c.x, c.names["x"]
    need_alpha = c.needs[differentiable(c.op).index("alpha")]
    require(len(split) <= 4, lambda: f"split must have at most 4 entries, got {len(split)}")
    for width in split:
        if not 0 < width <= channels:
            raise InputError(f"split must be counts from 1 to {channels} channels, got {width}")
    require(
        sum(split) == channels or (not split and not c.needs[1]),
        lambda: f"split must add up to {channels} channels, got {sum(split)}",
    )
    gate(c.alpha, channels, "the gradient", y)
    require(
        not need_alpha or (c.alpha is not None and x is not None),
        lambda: f"alpha and {x_name} must be given where needs asks for alpha's gradient, got None",
    )
    if x is None:
        return
    like(x_name, x, "the gradient", y)
    n, _, h, w = y.shape
    require(
        x.shape == (n, channels, h, w),
        lambda: f"{x_name} must have shape ({n}, {channels}, {h}, {w}), got {shape_of(x)}",
    )
