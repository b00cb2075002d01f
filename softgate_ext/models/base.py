"""What every pose model offers beside its forward."""

from typing import Any, Literal

from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import DECODER, SIGMA, Decoder, HeatmapCodec, PoseCodec


class PoseModel(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to a list of heatmaps (N, J, H/4, W/4), one per stage; or of
    joints (N, J, 2).

    Attributes:
        config: `{"name": ..., "kwargs": {...}}`, JSON-able; `create_model(name, **kwargs)` rebuilds
            the model.
        step: images have a height and a width that are multiples of it, pixels.
        gives: what its outputs are.
    """

    config: dict[str, Any]
    step: int = 1
    gives: Literal["heatmaps", "joints"] = "heatmaps"

    def codec(self, image_size: int, sigma: float = SIGMA, decoder: Decoder = DECODER) -> PoseCodec:
        """What the network learns in place of joints, and how they are read from its outputs.

        Args:
            image_size: side of the crops, pixels.
            sigma: standard deviation of the Gaussian targets, heatmap pixels.
            decoder: how joints are read from heatmaps, see `HeatmapCodec`.

        Raises:
            InputError: a value is out of range, or has no meaning for the network.
        """
        return HeatmapCodec(image_size, image_size // 4, sigma, decoder)

    def check_image_size(self, image_size: int) -> None:
        """Raises InputError unless the network takes square images of `image_size` pixels."""
        step = self.step
        if image_size < step or image_size % step:
            raise InputError(
                f"images must have a height and width divisible by {step}, such as {step}, "
                f"{2 * step} or {4 * step}, got image_size {image_size}"
            )

    def seen_side(self, block: str, image_size: int) -> float:
        """Side of the part of a square image that the named block is given, in its pixels."""
        return image_size

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
