"""The five public ops. Each picks a backend, calls it and updates the running statistics.

Activations have the shape (N, C, H, W) and are float32, float64, float16 or bfloat16, contiguous or
channels_last; tensors with other strides are copied. Results have the dtype and layout of the first
argument. Per-channel vectors may be float32 beside half-precision activations. Arguments after the
``*`` of a signature are given by keyword. Wrong input raises
:class:`softgate_ext.errors.InputError` (a ValueError) with the same sentence from every backend.
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
        x: (N, C, H, W), the skip connection.
        branches: one tensor of x's shape, or 1 to 4 tensors whose channels add up to C.
        alpha: (C,) one gate per channel, (1,) one gate for all, or None (= 1). The kernels need not
            read x where alpha is exactly 0, so infinite or NaN values of x may be lost there.

    Returns:
        y, (N, C, H, W), with the dtype and layout of x.

    Raises:
        InputError: a shape, dtype or device does not fit.
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

    The op fuses the add that ends one residual block and the BN-ReLU that opens the next. The
    arguments from ``running_mean`` on are those of :func:`torch.nn.functional.batch_norm`. In
    training the running statistics are updated in place, the variance as its unbiased estimate.

    Args:
        x: (N, C, H, W), the skip connection.
        branches: one tensor of x's shape, or 1 to 4 tensors whose channels add up to C.
        alpha: (C,) one gate per channel, (1,) one gate for all, or None (= 1).
        running_mean, running_var: (C,); both or neither are given. Required unless ``training``.
        weight, bias: (C,), the affine part of the norm, or None.
        training: whether to normalise with the statistics of this batch.
        momentum: the weight of this batch in the running statistics. With None they are the average
            over all calls.
        eps: a number added to the variance.
        relu: whether the ReLU is applied.
        num_batches_tracked: (), int64, the number of calls in training, as in
            :class:`torch.nn.BatchNorm2d`; incremented in place. Required if ``momentum`` is None.

    Returns:
        (y, z), each (N, C, H, W) with the dtype and layout of x. z is computed from y after y was
        rounded to its dtype.

    Raises:
        InputError: a shape, dtype or device does not fit.
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
    """``z = relu(batch_norm(x))``.

    Args:
        x: (N, C, H, W).

    The other arguments are those of :func:`gated_residual_bn_relu`.

    Returns:
        z, (N, C, H, W), with the dtype and layout of x.

    Raises:
        InputError: a shape, dtype or device does not fit.
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
    """Merges the gated ``skip`` with ``low``, upsampled 2x by nearest neighbour.

    The upsampled tensor is never stored.

    Args:
        skip: (N, C, H, W), H and W even.
        low: (N, C2, H/2, W/2).
        alpha: (C,), (1,) or None (= 1), the gate on ``skip``.
        mode: "concat" gives C + C2 channels, those of skip first. "add" gives C channels and
            requires C2 == C.
        branches: nothing, or 1 to 4 tensors whose channels add up to C. The skip half is then the
            residual ``alpha * skip + cat(branches)``, which is stored directly into the result.

    Returns:
        merged, (N, C + C2 or C, H, W), with the dtype and layout of skip.

    Raises:
        InputError: a shape, dtype, device or the mode does not fit.
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

    The arguments are those of :func:`skip_merge` and :func:`gated_residual_bn_relu`. The vectors of
    the norm have one value per channel of ``merged``.

    Returns:
        (merged, z), each (N, C + C2 or C, H, W) with the dtype and layout of skip.

    Raises:
        InputError: a shape, dtype, device or the mode does not fit.
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
    """Notes how z can be recomputed (`recompute`), and updates the running statistics in training."""
    running_mean, running_var, weight, bias = norm
    used = (mean, var) if training else (running_mean, running_var)
    note(z, ops.bn_relu, y, (*used, weight, bias), eps, relu)
    if training:
        update_running(y, mean, var, running_mean, running_var, calls, momentum)
