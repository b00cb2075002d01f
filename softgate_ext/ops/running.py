"""The running statistics of a norm, which a training call updates."""

import torch
from torch import Tensor


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
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
