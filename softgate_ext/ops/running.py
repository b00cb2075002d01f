"""Updates of a norm's running statistics in training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops import reference
from softgate_ext.ops.backend import extension
from softgate_ext.ops.schema import accumulator


def update_running(
    y: Tensor,
    mean: Tensor,
    var: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    calls: Tensor | None,
    momentum: float | None,
) -> None:
    """Updates the running statistics in place, with the unbiased variance, as ``batch_norm`` does.

    An empty batch only increments ``calls``.

    Args:
        y: (N, C, H, W), the tensor that was normalised.
        mean, var: (C,), the mean and biased variance of y.
        running_mean, running_var: (C,), or None.
        calls: (), int64, the number of earlier calls in training, or None; incremented in place.
        momentum: the weight of this batch. None is 1 / (number of calls with this one), which makes
            the running statistics the average over all calls.
    """
    if running_mean is None or running_var is None or y.numel() == 0:
        if calls is not None:
            calls.add_(1)
        return
    count = y.numel() // y.shape[1]
    compiled = None if torch.compiler.is_compiling() else extension()
    if compiled is not None and compiled.update_running(
        mean, var, running_mean, running_var, calls, momentum, count
    ):
        return
    with torch.no_grad():
        if calls is not None:
            calls.add_(1)
        update = ((running_mean, mean), (running_var, var * (count / (count - 1))))
        for running, batch in update:
            weight = weight_of_batch(momentum, calls)
            if isinstance(weight, Tensor):
                weight = weight.to(running.dtype)
            running.lerp_(batch.to(running.dtype), weight)


def weight_of_batch(momentum: float | None, calls: Tensor | None) -> float | Tensor:
    """The weight of a batch in the running statistics.

    The weight of an average stays a tensor. Reading it as a number would synchronise the device and
    break a graph.
    """
    if momentum is not None:
        return momentum
    assert calls is not None  # a norm without momentum counts its calls
    return calls.reciprocal()


def by_reference(
    op: Callable[..., Any],
    inputs: tuple[Any, ...],
    norm: tuple[Tensor | None, ...],
    training: bool,
    momentum: float | None,
    calls: Tensor | None,
    **options: Any,
) -> Any:
    """Calls an op of the reference, and adds what its batch norm lacks.

    PyTorch's functional batch norm takes no momentum of None and counts no calls. With momentum
    None, the running statistics are updated here, after the op.
    """
    mean, var, *affine = norm
    if not training or momentum is not None:
        if training and calls is not None:
            calls.add_(1)
        options["momentum"] = 0.0 if momentum is None else momentum
        return op(*inputs, mean, var, *affine, training=training, **options)
    result = op(*inputs, None, None, *affine, training=True, **options)
    y = (inputs[0] if op is reference.bn_relu else result[0]).detach()
    batch = torch.var_mean(y.to(accumulator(y.dtype)), (0, 2, 3), correction=0)
    update_running(y, batch[1], batch[0], mean, var, calls, momentum)
    return result
