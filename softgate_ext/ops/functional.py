"""The five public ops: pick the backend, call it, update the running statistics.

Shapes: activations are (N, C, H, W), float32, float64, float16 or bfloat16, contiguous or
channels_last (other strides are copied); results have the layout of the first argument. Per-channel
vectors may stay float32 beside half activations. What is no tensor is given by its name. Wrong input
raises :class:`softgate_ext.errors.InputError` (a ValueError), with the same sentence from every
backend.
"""

from typing import Any

from torch import Tensor

from softgate_ext.ops import batching, checks, conv3x3, fake, fallback, reference, triton  # noqa: F401  (they register)
from softgate_ext.ops.call_checks import check_call
from softgate_ext.ops.dispatch import as_list, matched, ops_for
from softgate_ext.ops.overrides import overridable
from softgate_ext.ops.recipes import note
from softgate_ext.ops.reference import Branches
from softgate_ext.ops.running import by_reference, update_running
from softgate_ext.ops.schema import Call

__all__ = [
    "bn_relu",
    "gated_residual",
    "gated_residual_bn_relu",
    "skip_merge",
    "skip_merge_bn_relu",
]


@overridable
def gated_residual(x: Tensor, branches: Branches, alpha: Tensor | None = None) -> Tensor:
    """``y = alpha[c] * x + cat(branches)``, the gated skip of arXiv 2002.11098, in one pass.

    Args:
        x: (N, C, H, W), the skip.
        branches: One tensor of x's shape, or 1 to 4 whose channels add up to C.
        alpha: (C,) one gate per channel, (1,) one for all, or None (= 1). Where it is exactly 0, the
            kernels need not read x: what is infinite or NaN there may be left out.

    Returns:
        y, (N, C, H, W), dtype and layout of x.

    Raises:
        InputError: A shape, dtype or device does not fit.
    """
    x, parts = matched(x, branches, alpha)
    ops = ops_for(x)
    if ops is not None:
        return ops.gated_residual(x, parts, alpha)
    check_call(Call("gated_residual", (x, parts, alpha)))
    return reference.gated_residual(x, parts, alpha)


@overridable
def gated_residual_bn_relu(
    x: Tensor,
    branches: Branches,
    alpha: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    relu: bool = True,
    num_batches_tracked: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``y = alpha[c] * x + cat(branches)`` and ``z = relu(batch_norm(y))``.

    The add that ends one residual block and the BN-ReLU that opens the next. Arguments from
    ``running_mean`` on are those of :func:`torch.nn.functional.batch_norm`; in training the running
    statistics are updated in place.

    Args:
        x: (N, C, H, W), the skip.
        branches: One tensor of x's shape, or 1 to 4 whose channels add up to C.
        alpha: (C,) one gate per channel, (1,) one for all, or None (= 1).
        running_mean, running_var: (C,), both or neither; needed unless ``training``.
        weight, bias: (C,), the affine part of the norm, or None.
        training: Normalise with the statistics of this batch.
        momentum: Weight of this batch in the running statistics; None keeps the average of all calls.
        eps: Added to the variance.
        relu: False leaves the ReLU out.
        num_batches_tracked: (), int64, counts the calls in training, as the buffer of
            :class:`torch.nn.BatchNorm2d`; or None. Needed where ``momentum`` is None.

    Returns:
        (y, z), each (N, C, H, W) with dtype and layout of x; z is computed from y as stored.

    Raises:
        InputError: A shape, dtype or device does not fit.
    """
    checks.norm_options(training, momentum, num_batches_tracked, eps, relu)
    x, parts = matched(x, branches, alpha, running_mean, running_var, weight, bias)
    tensors = (x, parts, alpha, running_mean, running_var, weight, bias)
    ops = ops_for(x)
    if ops is not None:
        y, z, mean, var = ops.gated_residual_bn_relu(*tensors, training, eps, relu)
        norm = (running_mean, running_var, weight, bias)
        _settle(ops, y, z, mean, var, norm, training, momentum, num_batches_tracked, eps, relu)
        return y, z
    check_call(Call("gated_residual_bn_relu", (*tensors, training, eps, relu)))
    norm = (running_mean, running_var, weight, bias)
    return by_reference(
        reference.gated_residual_bn_relu, (x, parts, alpha), norm, training, momentum,
        num_batches_tracked, eps=eps, relu=relu,
    )  # fmt: skip


@overridable
def bn_relu(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    relu: bool = True,
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    """``z = relu(batch_norm(x))``; arguments as in :func:`gated_residual_bn_relu`.

    Args:
        x: (N, C, H, W).

    Returns:
        z, (N, C, H, W), dtype and layout of x.

    Raises:
        InputError: A shape, dtype or device does not fit.
    """
    checks.norm_options(training, momentum, num_batches_tracked, eps, relu)
    checks.tensors(x, (), None, running_mean, running_var, weight, bias)
    tensors = (x, running_mean, running_var, weight, bias)
    ops = ops_for(x)
    if ops is not None:
        z, mean, var = ops.bn_relu(*tensors, training, eps, relu)
        norm = (running_mean, running_var, weight, bias)
        _settle(ops, x, z, mean, var, norm, training, momentum, num_batches_tracked, eps, relu)
        return z
    check_call(Call("bn_relu", (*tensors, training, eps, relu)))
    return by_reference(
        reference.bn_relu, (x,), tensors[1:], training, momentum, num_batches_tracked,
        eps=eps, relu=relu,
    )  # fmt: skip


@overridable
def skip_merge(
    skip: Tensor,
    low: Tensor,
    alpha: Tensor | None = None,
    *,
    mode: str = "concat",
    branches: Branches = (),
) -> Tensor:
    """Nearest 2x upsampling of ``low`` merged with the gated ``skip``, without the upsampled copy.

    Args:
        skip: (N, C, H, W), H and W even.
        low: (N, C2, H/2, W/2).
        alpha: (C,), (1,) or None (= 1), the gate on ``skip``.
        mode: "concat" gives C + C2 channels, skip first; "add" gives C and takes C2 == C.
        branches: None, or 1 to 4 tensors whose channels add up to C: the skip side is then the
            unfinished residual ``alpha * skip + cat(branches)``, completed in the merge buffer.

    Returns:
        merged, dtype and layout of skip.

    Raises:
        InputError: A shape, dtype, device or the mode does not fit.
    """
    checks.mode(mode)
    skip, (low, *parts) = matched(skip, [low, *as_list(branches)], alpha)
    ops = ops_for(skip)
    if ops is not None:
        return ops.skip_merge(skip, parts, low, alpha, mode)
    check_call(Call("skip_merge", (skip, parts, low, alpha, mode)))
    return reference.skip_merge(skip, low, alpha, mode=mode, branches=parts)


@overridable
def skip_merge_bn_relu(
    skip: Tensor,
    low: Tensor,
    alpha: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    relu: bool = True,
    mode: str = "concat",
    branches: Branches = (),
    num_batches_tracked: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``merged = skip_merge(...)`` and ``z = relu(batch_norm(merged))``.

    Arguments as in :func:`skip_merge` and :func:`gated_residual_bn_relu`; the vectors of the norm
    have one value per channel of ``merged``.

    Returns:
        (merged, z), dtype and layout of skip.

    Raises:
        InputError: A shape, dtype, device or the mode does not fit.
    """
    checks.norm_options(training, momentum, num_batches_tracked, eps, relu)
    checks.mode(mode)
    vectors = (alpha, running_mean, running_var, weight, bias)
    skip, (low, *parts) = matched(skip, [low, *as_list(branches)], *vectors)
    ops = ops_for(skip)
    if ops is not None:
        merged, z, mean, var = ops.skip_merge_bn_relu(
            skip, parts, low, *vectors, training, eps, relu, mode
        )
        norm = (running_mean, running_var, weight, bias)
        _settle(ops, merged, z, mean, var, norm, training, momentum, num_batches_tracked, eps, relu)
        return merged, z
    check_call(Call("skip_merge_bn_relu", (skip, parts, low, *vectors, training, eps, relu, mode)))
    return by_reference(
        reference.skip_merge_bn_relu, (skip, low, alpha), vectors[1:], training, momentum,
        num_batches_tracked, eps=eps, relu=relu, mode=mode, branches=parts,
    )  # fmt: skip


def _settle(
    ops: Any,
    y: Tensor,
    z: Tensor,
    mean: Tensor,
    var: Tensor,
    norm: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    training: bool,
    momentum: float | None,
    calls: Tensor | None,
    eps: float,
    relu: bool,
) -> None:
    """What is left to do when z is computed: its recipe, and the running statistics of training."""
    running_mean, running_var, weight, bias = norm
    used = (mean, var) if training else (running_mean, running_var)
    note(z, ops.bn_relu, y, (*used, weight, bias), eps, relu)
    if training:
        update_running(y, mean, var, running_mean, running_var, calls, momentum)
