"""What the ops accept, said in one sentence per refusal.

``csrc/checks.h`` says the same in C++ for the compiled kernels; these serve the fake kernels, the
fallback, Triton and the reference. ``tests/ops/test_bad_input.py`` holds the two to the same words.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.ops.schema import Call, differentiable

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_MODES = ("concat", "add")
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def _require(condition: bool, message: Callable[[], str]) -> None:
    """The message is made where it is needed only: a traced size has no text."""
    if not condition:
        raise InputError(message())


def _name(value: torch.dtype | torch.layout) -> str:
    return str(value).removeprefix("torch.")


def _shape(t: Tensor) -> str:
    return "(" + ", ".join(str(s) for s in t.shape) + ("," if t.dim() == 1 else "") + ")"


def of_3x3(weight: Tensor) -> None:
    """What `conv3x3` takes; PyTorch's convolution takes kernels of any size."""
    _require(
        weight.dim() == 4 and tuple(weight.shape[2:]) == (3, 3),
        lambda: f"weight must have shape (O, I / groups, 3, 3), got {_shape(weight)}",
    )


_VECTORS = ("alpha", "running_mean", "running_var", "weight", "bias")


def tensors(first: object, rest: Sequence[object] = (), *vectors: object) -> None:
    """What no schema has checked yet; the vectors are alpha and those of the norm, in order."""
    for t in (first, *rest):
        if not isinstance(t, Tensor):
            raise InputError(f"activations must be tensors, got {type(t).__name__}")
        if t.is_nested:  # no kernel is asked with one
            raise InputError("activations must be dense tensors, got a nested one")
    for i, v in enumerate(vectors):
        if v is None:
            continue
        if not isinstance(v, Tensor):
            raise InputError(f"{_VECTORS[i]} must be a tensor or None, got {type(v).__name__}")
        if 1 <= i <= 2 and v.requires_grad and torch.is_grad_enabled():
            raise InputError(
                f"{_VECTORS[i]} must not require a gradient, which no batch norm has for it"
            )


def norm_options(
    training: object, momentum: object, calls: object, eps: object, relu: object
) -> None:
    """The numbers and flags of a norm, whose types each backend would refuse in words of its own."""
    for name, flag in (("training", training), ("relu", relu)):
        if not isinstance(flag, bool):
            raise InputError(f"{name} must be True or False, got {flag!r}")
    if calls is not None:
        if not (isinstance(calls, Tensor) and calls.dtype == torch.int64 and calls.ndim == 0):
            said = (
                f"{_name(calls.dtype)} of shape {_shape(calls)}"
                if isinstance(calls, Tensor)
                else f"{calls!r}"
            )
            raise InputError(
                f"num_batches_tracked must be an int64 tensor without dimensions or None, got {said}"
            )
        momentum = 0.0 if momentum is None else momentum
    for name, number in (("momentum", momentum), ("eps", eps)):
        if not (isinstance(number, _NUMBERS) or isinstance(number, Tensor) and number.ndim == 0):
            raise InputError(f"{name} must be a number, got {number!r}")


def dense(name: str, t: Tensor) -> None:
    _require(not t.is_nested, lambda: f"{name} must be a dense tensor, got a nested one")
    _require(
        t.layout == torch.strided,
        lambda: f"{name} must be a dense tensor, got one of layout {_name(t.layout)}",
    )


def activation(name: str, t: Tensor) -> None:
    dense(name, t)
    _require(t.dim() == 4, lambda: f"{name} must be 4-D (N, C, H, W), got shape {_shape(t)}")
    _require(
        t.dtype in _DTYPES,
        lambda: f"{name} must be float32, float64, float16 or bfloat16, got {_name(t.dtype)}",
    )
    some = t.shape[1] > 0
    _require(some, lambda: f"{name} must have at least one channel, got shape {_shape(t)}")


def like(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    dense(name, t)
    _require(
        t.dtype == owner.dtype,
        lambda: (
            f"{name} must have the dtype of {owner_name}, {_name(owner.dtype)}, "
            f"got {_name(t.dtype)}"
        ),
    )
    _on_device(name, t, owner_name, owner)


def _on_device(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    _require(
        t.device == owner.device,
        lambda: f"{name} must be on the device of {owner_name}, {owner.device}, got {t.device}",
    )


def _parameter(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    dense(name, t)
    _require(t.dtype in _DTYPES, lambda: f"{name} must be floating point, got {_name(t.dtype)}")
    _on_device(name, t, owner_name, owner)


def vector(name: str, t: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    """A per-channel parameter: floating point of any width, on the owner's device."""
    if t is None:
        return
    _parameter(name, t, owner_name, owner)
    _require(
        t.dim() == 1 and t.shape[0] == channels,
        lambda: f"{name} must have shape ({channels},), one value per channel, got {_shape(t)}",
    )


def gate(alpha: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    if alpha is None:
        return
    _parameter("alpha", alpha, owner_name, owner)
    _require(
        alpha.dim() == 1 and (alpha.shape[0] == channels or alpha.shape[0] == 1),
        lambda: f"alpha must have shape ({channels},) or (1,), got {_shape(alpha)}",
    )


def call(c: Call) -> int:
    """All that an op accepts; returns the channels of ``x``, of a merge's sum in a forward."""
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
    """``alpha * x + cat(branches)``: up to 4 branches of x's size whose channels add up to x's."""
    name = c.names["x"]
    activation(name, c.x)
    n, channels, h, w = c.x.shape
    _require(
        least <= len(c.branches) <= 4,
        lambda: f"branches must be {least} to 4 tensors, got {len(c.branches)}",
    )
    total = 0
    for i, b in enumerate(c.branches):
        who = f"branches[{i}]"
        activation(who, b)
        like(who, b, name, c.x)
        if not (b.shape[0] == n and b.shape[2] == h and b.shape[3] == w):
            raise InputError(f"{who} must have shape ({n}, *, {h}, {w}) as {name}, got {_shape(b)}")
        total += b.shape[1]
    _require(
        not c.branches or total == channels,
        lambda: f"branches must have {channels} channels in all, as {name}, got {total}",
    )
    gate(c.alpha, channels, name, c.x)
    return channels


def mode(value: object) -> None:
    _require(value in _MODES, lambda: f"mode must be 'concat' or 'add', got '{value}'")


def _merge(c: Call) -> int:
    """A skip and the half-size ``low``."""
    mode(c.mode)
    channels = _residual(c, 0)
    skip, low = c.x, c.low
    activation("low", low)
    like("low", low, "skip", skip)
    n, _, h, w = skip.shape
    _require(
        low.shape[0] == n and low.shape[2] * 2 == h and low.shape[3] * 2 == w,
        lambda: f"low must be half as high and wide as skip {_shape(skip)}, got {_shape(low)}",
    )
    if c.mode == "concat":
        return channels + low.shape[1]
    _require(
        low.shape[1] == channels,
        lambda: f"low must have the {channels} channels of skip in mode 'add', got {low.shape[1]}",
    )
    return channels


def _norm(c: Call, channels: int) -> None:
    """The arguments of ``torch.nn.functional.batch_norm``."""
    for name in ("running_mean", "running_var", "weight", "bias"):
        vector(name, getattr(c, name), channels, c.names["x"], c.x)
    for name in ("running_mean", "running_var"):
        own = getattr(c, name)
        _require(
            not c.training or own is None or channels == 1 or own.stride(0) != 0,
            lambda name=name: (  # type: ignore[misc]
                f"{name} must have memory of its own for each channel, got an expanded tensor"
            ),
        )
    alike = (c.running_mean is None) == (c.running_var is None)
    takes = "running_mean and running_var must be given together or both be None, got one of them"
    _require(alike, lambda: takes)
    _require(
        c.training or c.running_mean is not None,
        lambda: "running_mean and running_var must be given when training=False, got None",
    )
    _require(
        c.eps > 0 if c.training else c.eps >= 0,
        lambda: (
            f"eps must be {'positive during training' if c.training else 'non-negative'}, "
            f"got {c.eps:g}"
        ),
    )
    if c.training:
        n, _, h, w = c.x.shape
        size = f"torch.Size([{n}, {channels}, {h}, {w}])"
        _require(
            n * h * w != 1,
            lambda: f"Expected more than 1 value per channel when training, got input size {size}",
        )


def _backward(c: Call) -> int:
    takes = len(differentiable(c.op))
    _require(len(c.needs) == takes, lambda: f"needs must have {takes} flags, got {len(c.needs)}")
    if c.normalises:
        y, y_name = c.y, c.names["y"]
        activation(y_name, y)
        _twin("dz", c.dz, y_name, y)
        for name in ("mean", "var", "weight", "bias"):
            vector(name, getattr(c, name), y.shape[1], y_name, y)
        need_weight, need_bias = c.needs[-2:]
        _require(
            not (need_weight and c.weight is None) and not (need_bias and c.bias is None),
            lambda: "weight and bias must be given where needs asks for their gradients, got None",
        )
        if c.dy is not None:
            _twin(c.names["dy"], c.dy, y_name, y)
    else:
        y = c.dy
        activation(c.names["dy"], y)
    channels = y.shape[1] if c.mode is None else _skip_channels(c, y)
    if c.sums:
        _residual_backward(c, y, channels)
    return channels


def _twin(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    """A gradient matches its tensor in everything but the strides."""
    like(name, t, owner_name, owner)
    _require(
        t.shape == owner.shape,
        lambda: f"{name} must have the shape of {owner_name}, {_shape(owner)}, got {_shape(t)}",
    )


def _skip_channels(c: Call, merged: Tensor) -> int:
    mode(c.mode)
    _require(
        merged.shape[2] % 2 == 0 and merged.shape[3] % 2 == 0,
        lambda: f"merged must have an even height and width, got shape {_shape(merged)}",
    )
    total = merged.shape[1]
    _require(
        0 < c.channels < total if c.mode == "concat" else c.channels == total,
        lambda: (
            f"channels must be the channels of skip, within the {total} of merged, got {c.channels}"
        ),
    )
    return c.channels


def _residual_backward(c: Call, y: Tensor, channels: int) -> None:
    split, x, x_name = c.split, c.x, c.names["x"]
    need_alpha = c.needs[differentiable(c.op).index("alpha")]
    _require(len(split) <= 4, lambda: f"split must have at most 4 entries, got {len(split)}")
    for width in split:
        if not 0 < width <= channels:
            raise InputError(f"split must be counts from 1 to {channels} channels, got {width}")
    _require(
        sum(split) == channels or (not split and not c.needs[1]),
        lambda: f"split must add up to {channels} channels, got {sum(split)}",
    )
    gate(c.alpha, channels, "the gradient", y)
    _require(
        not need_alpha or (c.alpha is not None and x is not None),
        lambda: f"alpha and {x_name} must be given where needs asks for alpha's gradient, got None",
    )
    if x is None:
        return
    like(x_name, x, "the gradient", y)
    n, _, h, w = y.shape
    _require(
        x.shape == (n, channels, h, w),
        lambda: f"{x_name} must have shape ({n}, {channels}, {h}, {w}), got {_shape(x)}",
    )
