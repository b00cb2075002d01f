"""What the ops accept, said in one sentence per refusal.

``csrc/checks.h`` says the same in C++ for the compiled kernels; these serve the fake kernels, the
fallback and the reference. ``tests/ops/test_bad_input.py`` holds the two to the same words.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softgate_ext.errors import InputError

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_MODES = ("concat", "add")


def _require(condition: bool, message: Callable[[], str]) -> None:
    """The message is made where it is needed only: a traced size has no text."""
    if not condition:
        raise InputError(message())


def _name(value: torch.dtype | torch.layout) -> str:
    return str(value).removeprefix("torch.")


def _shape(t: Tensor) -> str:
    return "(" + ", ".join(str(s) for s in t.shape) + ("," if t.dim() == 1 else "") + ")"


_VECTORS = ("alpha", "running_mean", "running_var", "weight", "bias")


def tensors(first: object, rest: Sequence[object] = (), *vectors: object) -> None:
    """What no schema has checked yet; the vectors are alpha and those of the norm, in order."""
    for t in (first, *rest):
        if not isinstance(t, Tensor):
            raise InputError(f"activations must be tensors, got {type(t).__name__}")
    for i, v in enumerate(vectors):
        if v is None:
            continue
        if not isinstance(v, Tensor):
            raise InputError(f"{_VECTORS[i]} must be a tensor or None, got {type(v).__name__}")
        if 1 <= i <= 2 and v.requires_grad and torch.is_grad_enabled():
            raise InputError(
                f"{_VECTORS[i]} must not require a gradient, which no batch norm has for it"
            )


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
    _require(
        t.shape[1] > 0, lambda: f"{name} must have at least one channel, got shape {_shape(t)}"
    )


def like(name: str, t: Tensor, owner_name: str, owner: Tensor) -> None:
    dense(name, t)
    _require(
        t.dtype == owner.dtype,
        lambda: (
            f"{name} must have the dtype of {owner_name}, {_name(owner.dtype)}, "
            f"got {_name(t.dtype)}"
        ),
    )
    _require(
        t.device == owner.device,
        lambda: f"{name} must be on the device of {owner_name}, {owner.device}, got {t.device}",
    )


def vector(name: str, t: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    """A per-channel parameter: floating point of any width, on the owner's device."""
    if t is None:
        return
    dense(name, t)
    _require(t.dtype in _DTYPES, lambda: f"{name} must be floating point, got {_name(t.dtype)}")
    _require(
        t.device == owner.device,
        lambda: f"{name} must be on the device of {owner_name}, {owner.device}, got {t.device}",
    )
    _require(
        t.dim() == 1 and t.shape[0] == channels,
        lambda: f"{name} must have shape ({channels},), one value per channel, got {_shape(t)}",
    )


def gate(alpha: Tensor | None, channels: int, owner_name: str, owner: Tensor) -> None:
    if alpha is None:
        return
    dense("alpha", alpha)
    _require(
        alpha.dtype in _DTYPES, lambda: f"alpha must be floating point, got {_name(alpha.dtype)}"
    )
    _require(
        alpha.device == owner.device,
        lambda: f"alpha must be on the device of {owner_name}, {owner.device}, got {alpha.device}",
    )
    _require(
        alpha.dim() == 1 and (alpha.shape[0] == channels or alpha.shape[0] == 1),
        lambda: f"alpha must have shape ({channels},) or (1,), got {_shape(alpha)}",
    )


def residual(
    x: Tensor,
    branches: Sequence[Tensor],
    alpha: Tensor | None,
    name: str = "x",
    least: int = 1,
) -> None:
    """``alpha * x + cat(branches)``: 1 to 4 branches of x's size whose channels add up to x's."""
    activation(name, x)
    n, c, h, w = x.shape
    _require(
        least <= len(branches) <= 4,
        lambda: f"branches must be {least} to 4 tensors, got {len(branches)}",
    )
    total = 0
    for i, b in enumerate(branches):
        who = f"branches[{i}]"
        activation(who, b)
        like(who, b, name, x)
        if not (b.shape[0] == n and b.shape[2] == h and b.shape[3] == w):
            raise InputError(f"{who} must have shape ({n}, *, {h}, {w}) as {name}, got {_shape(b)}")
        total += b.shape[1]
    _require(
        not branches or total == c,
        lambda: f"branches must have {c} channels in all, as {name}, got {total}",
    )
    gate(alpha, c, name, x)


def how(value: str) -> None:
    _require(value in _MODES, lambda: f"mode must be 'concat' or 'add', got '{value}'")


def merge(
    skip: Tensor, low: Tensor, alpha: Tensor | None, mode: str, branches: Sequence[Tensor]
) -> int:
    """A skip and the half-size ``low``; returns the channels of the merged tensor."""
    how(mode)
    residual(skip, branches, alpha, "skip", 0)
    activation("low", low)
    like("low", low, "skip", skip)
    n, c, h, w = skip.shape
    _require(
        low.shape[0] == n and low.shape[2] * 2 == h and low.shape[3] * 2 == w,
        lambda: f"low must be half as high and wide as skip {_shape(skip)}, got {_shape(low)}",
    )
    if mode == "concat":
        return c + low.shape[1]
    _require(
        low.shape[1] == c,
        lambda: f"low must have the {c} channels of skip in mode 'add', got {low.shape[1]}",
    )
    return c


def norm(
    channels: int,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    owner_name: str,
    owner: Tensor,
) -> None:
    """The arguments of ``torch.nn.functional.batch_norm`` for ``owner``."""
    vectors = dict(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    for name, t in vectors.items():
        vector(name, t, channels, owner_name, owner)
    _require(
        (running_mean is None) == (running_var is None),
        lambda: (
            "running_mean and running_var must be given together or both be None, got one of them"
        ),
    )
    _require(
        training or running_mean is not None,
        lambda: "running_mean and running_var must be given when training=False, got None",
    )
    _require(
        eps > 0 if training else eps >= 0,
        lambda: (
            f"eps must be {'positive during training' if training else 'non-negative'}, got {eps:g}"
        ),
    )
    if training:
        n, _, h, w = owner.shape
        size = f"torch.Size([{n}, {channels}, {h}, {w}])"
        _require(
            n * h * w != 1,
            lambda: f"Expected more than 1 value per channel when training, got input size {size}",
        )
