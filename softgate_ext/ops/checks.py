"""Checks of single arguments of the ops. Each raises InputError with one sentence.

``csrc/checks.h`` has the same checks in C++ for the compiled kernels. The ones here serve the fake
kernels, the fallback, Triton and the reference. ``tests/ops/test_bad_input.py`` compares the
sentences of both.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softgate_ext.errors import InputError

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_MODES = ("concat", "add")
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def require(condition: bool, message: Callable[[], str]) -> None:
    """Raises InputError unless the condition holds.

    The message is a function, because a symbolic size of a trace cannot be turned into text.
    """
    if not condition:
        raise InputError(message())


def _name(value: torch.dtype | torch.layout) -> str:
    return str(value).removeprefix("torch.")


def shape_of(t: Tensor) -> str:
    """The shape as a tuple is printed, such as ``(2, 3)``, in the spelling of ``csrc/checks.h``."""
    return "(" + ", ".join(str(s) for s in t.shape) + ("," if t.dim() == 1 else "") + ")"


def of_3x3(weight: Tensor) -> None:
    """Checks that a weight is one of 3x3 kernels; PyTorch's convolution would take any size."""
    require(
        weight.dim() == 4 and tuple(weight.shape[2:]) == (3, 3),
        lambda: f"weight must have shape (O, I / groups, 3, 3), got {shape_of(weight)}",
    )


def gradient_of_3x3(dy: Tensor, x: Tensor, weight: Tensor) -> None:
    """Checks the gradient of the result of a 3x3 convolution: kernels read as much of it as `x` has pixels."""
    require(x.dim() == 4, lambda: f"x must be 4-D (N, C, H, W), got shape {shape_of(x)}")
    size = (x.shape[0], weight.shape[0], *x.shape[2:])
    require(
        tuple(dy.shape) == size,
        lambda: f"dy must have shape ({', '.join(map(str, size))}), got {shape_of(dy)}",
    )


_VECTORS = ("alpha", "running_mean", "running_var", "weight", "bias")


def tensors(first: object, rest: Sequence[object] = (), *vectors: object) -> None:
    """Checks the types before the dispatcher does, whose messages would not name the argument.

    Args:
        first: the first activation.
        rest: the other activations.
        vectors: alpha, running_mean, running_var, weight and bias, in this order; each may be None.
    """
    for t in (first, *rest):
        if not isinstance(t, Tensor):
            raise InputError(f"activations must be tensors, got {type(t).__name__}")
        if t.is_nested:  # the dispatcher would refuse it in its own words before any kernel runs
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
    """Checks the numbers and flags of a norm, so that every backend raises the same error.

    Args:
        training, momentum, eps, relu: as in the public ops.
        calls: the argument ``num_batches_tracked``.
    """
    for name, flag in (("training", training), ("relu", relu)):
        if not isinstance(flag, bool):
            raise InputError(f"{name} must be True or False, got {flag!r}")
    if calls is not None:
        if not (isinstance(calls, Tensor) and calls.dtype == torch.int64 and calls.ndim == 0):
            said = (
                f"{_name(calls.dtype)} of shape {shape_of(calls)}"
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
    """Checks that a tensor is strided: neither sparse nor nested."""
    require(not t.is_nested, lambda: f"{name} must be a dense tensor, got a nested one")
    require(
        t.layout == torch.strided,
        lambda: f"{name} must be a dense tensor, got one of layout {_name(t.layout)}",
    )


def activation(name: str, t: Tensor) -> None:
    """Checks a dense (N, C, H, W) tensor of one of the four dtypes, C at least 1."""
    dense(name, t)
    require(t.dim() == 4, lambda: f"{name} must be 4-D (N, C, H, W), got shape {shape_of(t)}")
    require(
        t.dtype in _DTYPES,
        lambda: f"{name} must be float32, float64, float16 or bfloat16, got {_name(t.dtype)}",
    )
    some = t.shape[1] > 0
    require(some, lambda: f"{name} must have at least one channel, got shape {shape_of(t)}")


def like(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    """Checks that a dense tensor has the dtype and device of ``owner``."""
    dense(name, t)
    require(
        t.dtype == owner.dtype,
        lambda: (
            f"{name} must have the dtype of {owner_name}, {_name(owner.dtype)}, "
            f"got {_name(t.dtype)}"
        ),
    )
    _on_device(name, t, owner_name, owner)


def _on_device(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    require(
        t.device == owner.device,
        lambda: f"{name} must be on the device of {owner_name}, {owner.device}, got {t.device}",
    )


def _parameter(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    dense(name, t)
    require(t.dtype in _DTYPES, lambda: f"{name} must be floating point, got {_name(t.dtype)}")
    _on_device(name, t, owner_name, owner)


def vector(name: str, t: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    """Checks a per-channel vector, or None: (C,), any of the four dtypes, on the owner's device."""
    if t is None:
        return
    _parameter(name, t, owner_name, owner)
    require(
        t.dim() == 1 and t.shape[0] == channels,
        lambda: f"{name} must have shape ({channels},), one value per channel, got {shape_of(t)}",
    )


def gate(alpha: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    """Checks alpha: (C,), (1,) or None."""
    if alpha is None:
        return
    _parameter("alpha", alpha, owner_name, owner)
    require(
        alpha.dim() == 1 and (alpha.shape[0] == channels or alpha.shape[0] == 1),
        lambda: f"alpha must have shape ({channels},) or (1,), got {shape_of(alpha)}",
    )


def mode(value: object) -> None:
    """Checks the mode of a merge."""
    require(value in _MODES, lambda: f"mode must be 'concat' or 'add', got '{value}'")


def twin(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    """Checks that a gradient matches its tensor in everything but the strides."""
    like(name, t, owner_name, owner)
    require(
        t.shape == owner.shape,
        lambda: f"{name} must have the shape of {owner_name}, {shape_of(owner)}, got {shape_of(t)}",
    )
