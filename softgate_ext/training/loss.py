"""The loss of pose networks with intermediate supervision."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def pose_loss(
    predictions: Sequence[Tensor], targets: Tensor, weights: Tensor, count: Tensor | None = None
) -> Tensor:
    """The mean squared error of heatmaps or of regressed joints, summed over the stages.

    The mean is over the labelled joints, and over the pixels of a heatmap or over x and y. It is
    computed in float32, whatever the dtype of the network. An empty heatmap against a Gaussian of peak
    1 and standard deviation 1 has the error pi / (h * w), so that useful losses are below 1e-3. This
    does not matter to RMSprop and AdamW, which divide by the size of the gradient.

    Args:
        predictions: one tensor per stage, (B, J, h, w) or (B, J, 2).
        targets: a tensor of the same shape, float32, made by the network's codec.
        weights: (B, J) float32; 0 leaves a joint out.
        count: the number of labelled joints that the sum of errors is divided by, given if this is a
            part of a larger batch; None for `weights.sum()`.

    Returns:
        The loss, a float32 tensor of shape ().
    """
    with torch.autocast(targets.device.type, enabled=False):
        count = weights.sum() if count is None else count
        values = targets.shape[2:]
        share = weights / (count.clamp(min=1.0) * math.prod(values))
        within = tuple(range(-len(values), 0))
        errors = [(one.float() - targets).square().sum(within) for one in predictions]
        return torch.stack([(error * share).sum() for error in errors]).sum()
