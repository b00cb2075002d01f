"""The loss of pose networks with intermediate supervision."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def pose_loss(
    predictions: Sequence[Tensor], targets: Tensor, weights: Tensor, count: Tensor | None = None
) -> Tensor:
    """Squared error of heatmaps, or of regressed joints: mean over pixels (over x and y) and
    labelled joints, summed over the stages.

    An empty map against a Gaussian of peak 1 and standard deviation 1 costs pi / (h * w), so
    useful losses are below 1e-3; optimizers that divide by the size of the gradient (RMSprop,
    AdamW) do not mind. Computed in float32 whatever the network's type.

    Args:
        predictions: one tensor a stage, (B, J, h, w) or (B, J, 2).
        targets: the same shape, float32, as the network's codec encodes the joints.
        weights: (B, J) float32, 0 leaves a joint out.
        count: labelled joints that the mean is over, where this is a part of a larger batch;
            `weights.sum()` by default.
    """
    with torch.autocast(targets.device.type, enabled=False):
        count = weights.sum() if count is None else count
        values = targets.shape[2:]
        share = weights / (count.clamp(min=1.0) * math.prod(values))
        within = tuple(range(-len(values), 0))
        errors = [(one.float() - targets).square().sum(within) for one in predictions]
        return torch.stack([(error * share).sum() for error in errors]).sum()
