"""The running statistics of a norm, which a training call updates."""

import torch
from torch import Tensor

from softgate_ext.ops.backend import extension


def update_running(
    y: Tensor,
    mean: Tensor,
    var: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
) -> None:
    """In place, with the unbiased variance, as ``batch_norm``; an empty batch changes nothing."""
    if running_mean is None or running_var is None or y.numel() == 0:
        return
    count = y.numel() // y.shape[1]
    unbiased = count / (count - 1)
    compiled = None if torch.compiler.is_compiling() else extension()
    if compiled is not None:
        compiled.update_running(mean, var, running_mean, running_var, momentum, unbiased)
        return
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * unbiased).to(running_var.dtype), momentum)
