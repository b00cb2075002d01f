"""The loss of heatmap networks with intermediate supervision."""

from collections.abc import Sequence

import torch
from torch import Tensor


def heatmap_loss(
    predictions: Sequence[Tensor], targets: Tensor, weights: Tensor, count: Tensor | None = None
) -> Tensor:
    """Squared error of heatmaps: mean over pixels and labelled joints, summed over the stacks.

    An empty map against a Gaussian of peak 1 and standard deviation 1 costs pi / (h * w), so
    useful losses are below 1e-3; optimizers that divide by the size of the gradient (RMSprop,
    AdamW) do not mind. Computed in float32 whatever the network's type.

    Args:
        predictions: one (B, J, h, w) tensor a stack.
        targets: (B, J, h, w) float32, zero where a joint lies outside the crop.
        weights: (B, J) float32, 0 leaves a joint out.
        count: labelled joints that the mean is over, where this is a part of a larger batch;
            `weights.sum()` by default.
    """
    with torch.autocast(targets.device.type, enabled=False):
        count = weights.sum() if count is None else count
        share = weights / (count.clamp(min=1.0) * targets.shape[-2] * targets.shape[-1])
        errors = [(heat.float() - targets).square().sum((-2, -1)) for heat in predictions]
        return torch.stack([(error * share).sum() for error in errors]).sum()
