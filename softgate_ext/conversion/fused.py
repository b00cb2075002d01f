"""What a converted forward calls: our op where the tensors allow it, else the model's own ops.

Shapes are unknown while a model is traced, and a hook or another kind of norm may be put in later,
so both are looked at in each call.
"""

from collections.abc import Sequence
from typing import Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softgate_ext import ops
from softgate_ext.graphs.norms import relu_within
from softgate_ext.nn.norm import is_fusable, with_batch_norm
from softgate_ext.ops.overrides import overridable

# Of an addition in place: which of its two summands takes the sum.
Into = Literal["skip", "branch"] | None


@overridable
def norm_relu(norm: nn.Module, x: Tensor, relu: bool) -> Tensor:
    """`relu(norm(x))`."""
    if _serves(norm, x):
        return with_batch_norm(ops.bn_relu, x, bn=norm, relu=_relu(norm, relu))
    return _unfused(norm, x, relu)


@overridable
def add_norm_relu(
    norm: nn.Module,
    x: Tensor,
    branches: Sequence[Tensor],
    alpha: Tensor | None,
    into: Into,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """`y = alpha * x + cat(branches)` and `relu(norm(y))`."""
    if _serves(norm, x) and _adds(x, branches, alpha):
        op = ops.gated_residual_bn_relu
        gate = _flat(alpha)
        return with_batch_norm(op, x, branches, gate, bn=norm, relu=_relu(norm, relu))
    y = gated_add(x, branches, alpha, into)
    return y, norm_relu(norm, y, relu)


@overridable
def gated_add(x: Tensor, branches: Sequence[Tensor], alpha: Tensor | None, into: Into) -> Tensor:
    """`alpha * x + cat(branches)`, in the dtype of the one that it was added `into` in place."""
    if _adds(x, branches, alpha):
        return ops.gated_residual(x, branches, _flat(alpha))
    branch = branches[0] if len(branches) == 1 else torch.cat(list(branches), 1)
    return _add(x if alpha is None else alpha * x, branch, into)


@overridable
def merge_norm_relu(
    norm: nn.Module,
    skip: Tensor,
    low: Tensor,
    alpha: Tensor | None,
    mode: str,
    into: Into,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """`skip` merged with the nearest 2x upsampling of `low`, and `relu(norm(merged))`."""
    if _serves(norm, skip) and _merges(skip, low, alpha, mode):
        op, gate = ops.skip_merge_bn_relu, _flat(alpha)
        return with_batch_norm(op, skip, low, gate, bn=norm, relu=_relu(norm, relu), mode=mode)
    merged = merge(skip, low, alpha, mode, into)
    return merged, norm_relu(norm, merged, relu)


@overridable
def merge(skip: Tensor, low: Tensor, alpha: Tensor | None, mode: str, into: Into) -> Tensor:
    """`skip` concatenated with, or added to, the nearest 2x upsampling of `low`."""
    if _merges(skip, low, alpha, mode):
        return ops.skip_merge(skip, low, _flat(alpha), mode=mode)
    gated = skip if alpha is None else alpha * skip
    high = F.interpolate(low, scale_factor=2, mode="nearest")
    return torch.cat([gated, high], 1) if mode == "concat" else _add(gated, high, into)


def _add(skip: Tensor, branch: Tensor, into: Into) -> Tensor:
    if into is None:
        return skip + branch
    # A sum in place keeps shape and dtype of what it is written into, and refuses another shape.
    first, second = (skip, branch) if into == "skip" else (branch, skip)
    return (first + second.expand_as(first)).to(first.dtype)


def _serves(norm: nn.Module, x: Tensor) -> TypeGuard[nn.BatchNorm2d]:
    # BatchNorm2d itself refuses what is not four-dimensional, in its own words.
    return x.dim() == 4 and (is_fusable(norm) or relu_within(norm) is not None)


def _relu(norm: nn.Module, relu: bool) -> bool:
    own = relu_within(norm)
    return relu if own is None else own


def _unfused(norm: nn.Module, x: Tensor, relu: bool) -> Tensor:
    z = norm(x)
    return F.relu(z) if relu else z


def _adds(x: Tensor, branches: Sequence[Tensor], alpha: Tensor | None) -> bool:
    """Whether the op's sum is PyTorch's: nothing broadcast, no dtype promoted."""
    if not all(isinstance(t, Tensor) and t.dim() == 4 for t in (x, *branches)):
        return False
    channels = sum(b.shape[1] for b in branches)
    alike = all(_same_but_channels(x, b) and b.dtype == x.dtype for b in branches)
    return alike and channels == x.shape[1] > 0 and x.is_floating_point() and _gates(alpha, x)


def _merges(skip: Tensor, low: Tensor, alpha: Tensor | None, mode: str) -> bool:
    if not all(isinstance(t, Tensor) and t.dim() == 4 for t in (skip, low)):
        return False
    (n, c, h, w), (n2, c2, h2, w2) = skip.shape, low.shape
    fits = (
        n == n2
        and c > 0
        and c2 > 0
        and h == 2 * h2
        and w == 2 * w2
        and (mode == "concat" or c == c2)
    )
    return fits and skip.dtype == low.dtype and skip.is_floating_point() and _gates(alpha, skip)


def _same_but_channels(a: Tensor, b: Tensor) -> bool:
    return a.shape[0] == b.shape[0] and a.shape[2:] == b.shape[2:] and a.device == b.device


def _gates(alpha: Tensor | None, x: Tensor) -> bool:
    if alpha is None:
        return True
    if alpha.dtype != x.dtype or alpha.dim() > 4:
        return False
    return alpha.numel() == 1 or (
        alpha.numel() == x.shape[1] and tuple(alpha.shape[-3:]) == (x.shape[1], 1, 1)
    )


def _flat(alpha: Tensor | None) -> Tensor | None:
    return None if alpha is None else alpha.reshape(-1)
