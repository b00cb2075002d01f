"""What every pose model offers beside its forward."""

from typing import Any

from torch import Tensor, nn

from softgate_ext.errors import InputError


class PoseModel(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to a list of heatmaps (N, J, h, w), one per stage.

    Attributes:
        config: `{"name": ..., "kwargs": {...}}`, JSON-able; `create_model(name, **kwargs)` rebuilds
            the model.
        step: images have a height and a width that are multiples of it, pixels.
    """

    config: dict[str, Any]
    step: int = 1

    def check_image_size(self, image_size: int) -> None:
        """Raises InputError unless the network takes square images of `image_size` pixels."""
        step = self.step
        if image_size < step or image_size % step:
            raise InputError(
                f"images must have a height and width divisible by {step}, such as {step}, "
                f"{2 * step} or {4 * step}, got image_size {image_size}"
            )

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
