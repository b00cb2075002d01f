"""A trained run that finds the joints of people in a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softgate_ext.data.images import read_image
from softgate_ext.engine.checkpoint import Which, load_run
from softgate_ext.engine.config import Amp, RunConfig
from softgate_ext.engine.device import resolve_device
from softgate_ext.engine.inference import PoseInference, to_source
from softgate_ext.errors import InputError
from softgate_ext.folding import fold
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.geometry import crop_affine, warp
from softgate_ext.pose.skeleton import get_skeleton

Box = tuple[float, float, float, float]
CHUNK = 32  # crops in a forward pass, whatever the number of boxes
LONGEST = 1_000_000  # side of a box, pixels: far beyond, a crop's scale leaves the range of floats


@dataclass(frozen=True)
class Person:
    """One person found.

    Attributes:
        box: x, y, width, height of the box that was asked about, image pixels.
        joints: (J, 2) float64, image pixels, centres at integer coordinates.
        scores: (J,) float32, the peak of each heatmap: about 1 where the network is sure.
    """

    box: Box
    joints: np.ndarray
    scores: np.ndarray


class PosePredictor:
    """A trained run, ready for pictures: `PosePredictor.from_pretrained(run)(image, boxes)`.

    Args:
        model: the run's network.
        config: what the run says of it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        amp: autocast of convolutions.
        flip_test: average the heatmaps of each crop and of its mirror image.
        folded: run the network as `softgate_ext.fold` makes it, which is faster and takes less
            memory; False runs the model itself, whose weights may then still change.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: RunConfig,
        device: str = "auto",
        amp: Amp = "off",
        flip_test: bool = False,
        folded: bool = True,
    ) -> None:
        if not (math.isfinite(config.box_margin) and config.box_margin > 0):
            raise InputError(f"box_margin: got {config.box_margin}; takes a number more than 0")
        self.config = config
        self.skeleton = get_skeleton(config.skeleton)
        codec = HeatmapCodec(config.image_size, config.image_size // 4, config.sigma)
        network = model.to(resolve_device(device)).eval()
        channels_last = config.training.channels_last
        self._infer = PoseInference(
            fold(network, channels_last=channels_last) if folded else network,
            codec,
            self.skeleton,
            amp,
            flip_test,
            channels_last,
        )

    @classmethod
    def from_pretrained(
        cls,
        run: Path | str,
        weights: Which = "last",
        device: str = "auto",
        amp: Amp = "off",
        flip_test: bool = False,
        folded: bool = True,
    ) -> "PosePredictor":
        """Loads a folder that `softgate train` wrote; the other arguments are the constructor's.

        Raises:
            InputError: the folder or the device cannot be used.
        """
        model, config, _ = load_run(Path(run), weights)
        return cls(model, config, device, amp, flip_test, folded)

    def __call__(
        self, image: np.ndarray | Path | str, boxes: Sequence[Sequence[float]] | None = None
    ) -> list[Person]:
        """The people of one picture, one for each box.

        Args:
            image: uint8 (H, W, 3), RGB, or the path of a picture.
            boxes: x, y, width, height of each person in pixels; None takes the whole picture as
                the box of one person.

        Raises:
            InputError: the picture cannot be read or a box is empty or outside of it.
        """
        picture = image if isinstance(image, np.ndarray) else read_image(image)
        height, width = picture.shape[:2]
        size = self.config.image_size
        if boxes is None:
            asked: list[Box] = [(0.0, 0.0, float(width), float(height))]
            squares = [float(max(width, height))]
        else:
            asked = [check_box(box, width, height) for box in boxes]
            squares = [max(box[2], box[3]) * self.config.box_margin for box in asked]
        people: list[Person] = []
        for start in range(0, len(asked), CHUNK):
            part = slice(start, start + CHUNK)
            matrices = [
                crop_affine((x + (w - 1) / 2, y + (h - 1) / 2), side, size)
                for (x, y, w, h), side in zip(asked[part], squares[part], strict=True)
            ]
            crops = np.stack([warp(picture, matrix, size) for matrix in matrices])
            found, scores = self._infer(torch.from_numpy(crops).permute(0, 3, 1, 2))
            joints = to_source(found.double().cpu().numpy(), np.stack(matrices))
            people += map(Person, asked[part], joints, scores.cpu().numpy())
        return people


def check_box(box: Sequence[float], width: int, height: int) -> Box:
    """The box as four floats.

    Raises:
        InputError: it is not x, y, width, height of an area that meets the picture.
    """
    try:
        if isinstance(box, str | bytes) or any(isinstance(v, str | bytes | bool) for v in box):
            raise TypeError("text and truth values would pass for numbers")
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"box: got {shortened(box)}; takes four numbers, x y width height, in pixels"
        ) from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise InputError(f"box: got {x:g} {y:g} {w:g} {h:g}; takes a positive width and height")
    if not 1 <= max(w, h) <= LONGEST:
        raise InputError(
            f"box: got {x:g} {y:g} {w:g} {h:g}; takes a longer side from 1 to {LONGEST} pixels"
        )
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"box: {x:g} {y:g} {w:g} {h:g} lies outside the picture of {width} x {height} pixels"
        )
    return x, y, w, h


def shortened(value: Any) -> str:
    """`repr`, or its beginning; integers may be too long even to be printed."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
