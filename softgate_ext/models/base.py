"""What every pose model offers beside its forward."""

from typing import Any

from torch import Tensor, nn


class PoseModel(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to a list of heatmaps (N, J, h, w), one per stage.

    Attributes:
        config: `{"name": ..., "kwargs": {...}}`, JSON-able; `create_model(name, **kwargs)` rebuilds
            the model.
    """

    config: dict[str, Any]

    def gates(self) -> dict[str, Tensor]:
        """Values of every gate, from the image to the last heatmaps, by the name of its block.

        Returns:
            Detached tensors of shape (C,) or (1,); empty for a network without gates.
        """
        return {
            name.removesuffix(".alpha"): alpha.detach()
            for name, alpha in self.named_parameters()
            if name.endswith(".alpha")
        }
