"""Augmentation: random scale, rotation, mirroring and colours, as an affine map of each."""

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.geometry import crop_affine

_GREY = np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The ranges of the random changes of a training crop.

    Attributes:
        scale: the person is magnified by a factor from [1 - scale, 1 + scale].
        rotation: the crop is rotated by an angle from [-rotation, rotation], in degrees.
        flip: probability of mirroring.
        colour: brightness, contrast and saturation are multiplied by factors from
            [1 - colour, 1 + colour]. The range of the white balance is a quarter of that.

    Raises:
        InputError: a value is out of range.
    """

    scale: float = 0.25
    rotation: float = 30.0
    flip: float = 0.5
    colour: float = 0.2

    def __post_init__(self) -> None:
        for name, highest in (("scale", 0.9), ("rotation", 180.0), ("flip", 1.0), ("colour", 0.9)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= highest):
                raise InputError(f"{name} must be between 0 and {highest}, got {value}")

    def sample(self, rng: np.random.Generator) -> "Change":
        """Draws one change.

        The number of random draws is always the same, so that one range does not affect the draws of
        the others.
        """
        scale, rotation, *strengths = rng.uniform(-1, 1, 5)
        brightness, contrast, saturation = (1 + self.colour * strength for strength in strengths)
        balance = 1 + self.colour / 4 * rng.uniform(-1, 1, 3)
        linear = saturation * np.eye(3) + (1 - saturation) * _GREY  # towards or away from grey
        linear = brightness * contrast * balance[:, None] * linear
        colour = np.column_stack([linear, np.full(3, 127.5 * (1 - contrast))])
        return Change(
            magnification=1 + self.scale * scale,
            rotation=self.rotation * rotation,
            flip=bool(rng.random() < self.flip),
            colour=colour if self.colour else None,
        )


@dataclasses.dataclass(frozen=True)
class Change:
    """One random draw of an `Augmentation`.

    Attributes:
        magnification: factor on the size of the person in the crop.
        rotation: degrees, counter-clockwise.
        flip: whether the crop is mirrored; the joints then change names too.
        colour: (3, 4), an affine map of RGB; None for no change.
    """

    magnification: float = 1.0
    rotation: float = 0.0
    flip: bool = False
    colour: npt.NDArray[np.float64] | None = None

    def matrix(
        self, center: npt.NDArray[np.floating], size: float, output: int
    ) -> npt.NDArray[np.float64]:
        """The (2, 3) matrix from source pixels to crop pixels, with the change.

        Args:
            center: (2,), centre of the unchanged crop, in source pixels.
            size: side of the unchanged crop, in source pixels.
            output: side of the crop, in pixels.
        """
        return crop_affine(center, size / self.magnification, output, self.rotation, self.flip)

    def recolour(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3) uint8 RGB with changed colours, clipped to 0 and 255."""
        if self.colour is None:
            return image
        return cv2.transform(image, self.colour)  # type: ignore[return-value]
