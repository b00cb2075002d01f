"""The base class of the pose models: their codec, the image sizes they take, their gates."""

from typing import Any, Literal

from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import DECODER, SIGMA, Decoder, HeatmapCodec, PoseCodec


class PoseModel(nn.Module):
    """A network from images (N, 3, H, W), RGB in [0, 1], to a list of outputs, one per stage.

    An output is heatmaps (N, J, H/4, W/4) or joints (N, J, 2).

    Attributes:
        config: `{"name": ..., "kwargs": {...}}`, which JSON can hold. `create_model(name, **kwargs)`
            builds the same network from it.
        step: height and width of the images must be multiples of it, in pixels.
        gives: whether the outputs are "heatmaps" or "joints".
    """

    config: dict[str, Any]
    step: int = 1
    gives: Literal["heatmaps", "joints"] = "heatmaps"

    def codec(self, image_size: int, sigma: float = SIGMA, decoder: Decoder = DECODER) -> PoseCodec:
        """The codec that turns joints into training targets, and outputs into joints.

        Args:
            image_size: side of the square crops, in pixels.
            sigma: standard deviation of the Gaussian targets, in heatmap pixels.
            decoder: how joints are read from heatmaps, see `HeatmapCodec`.

        Raises:
            InputError: a value is out of range, or the network has no use for it.
        """
        return HeatmapCodec(image_size, image_size // 4, sigma, decoder)

    def check_image_size(self, image_size: int) -> None:
        """Checks that the network takes square images with a side of `image_size` pixels.

        Raises:
            InputError: it does not.
        """
        step = self.step
        if image_size < step or image_size % step:
            raise InputError(
                f"images must have a height and width divisible by {step}, such as {step}, "
                f"{2 * step} or {4 * step}, got image_size {image_size}"
            )

    def seen_side(self, block: str, image_size: int) -> float:
        """Side of the part of a square image that the named block sees, in pixels of the image."""
        return image_size

    def gates(self) -> dict[str, Tensor]:
        """The values of all gates, by the names of their blocks, in the order of the forward.

        Returns:
            Detached tensors of shape (C,) or (1,). The dict is empty for a network without gates.
        """
        return {
            name.removesuffix(".alpha"): alpha.detach()
            for name, alpha in self.named_parameters()
            if name.endswith(".alpha")
        }
