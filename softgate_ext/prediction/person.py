"""The result for one person, `Person`, and the checks of a box."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError

Box = tuple[float, float, float, float]
LONGEST = 1_000_000  # pixels, the longest side of a box; much larger ones overflow a crop's scale


@dataclass(frozen=True)
class Person:
    """The joints of one person in an image.

    Attributes:
        box: x, y, width, height of the box that was given or detected, in pixels of the image.
        joints: (J, 2) float64, x and y in pixels of the image, pixel centres at integer coordinates.
        scores: (J,) float32, the probability that each joint is right, calibrated on the watched
            samples of the training. For weights without a calibration it is the peak of the heatmap.
        names: the names of the J joints; "left" and "right" are those of the person.
        shown: (J,) bool, whether a joint has a sufficient score and is inside the image, so that it
            is drawn. None means that all are.
        box_score: score of the detector for the box, from 0 to 1; None if the box was given.
        track: number of the person in a video, the same in every frame; None in an image.
    """

    box: Box
    joints: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]
    shown: npt.NDArray[np.bool_] | None = None
    box_score: float | None = None
    track: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The person as a dictionary for `json`; joints that are not drawn have "shown": false."""
        shown = np.ones(len(self.names), bool) if self.shown is None else self.shown
        rows = zip(self.names, self.joints, self.scores, shown, strict=True)
        found = {} if self.box_score is None else {"box_score": round(self.box_score, 4)}
        track = {} if self.track is None else {"track": self.track}
        return {
            **track,
            "box_xywh": [round(value, 3) for value in self.box],
            **found,
            "joints": {
                name: {
                    "x": round(float(x), 3),
                    "y": round(float(y), 3),
                    "score": round(float(score), 4),
                    **({} if drawn else {"shown": False}),
                }
                for name, (x, y), score, drawn in rows
            },
        }


def read_box(box: Sequence[float]) -> Box:
    """The box as four floats.

    Raises:
        InputError: it is not x, y, width, height of an area of at least a pixel.
    """
    try:
        if isinstance(box, str | bytes) or any(isinstance(v, str | bytes | bool) for v in box):
            raise TypeError("text and truth values would pass for numbers")
        x, y, w, h = (float(value) for value in box)
        if not all(map(math.isfinite, (x, y, w, h))):
            raise ValueError("NaN and infinity are no places")
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"box: got {shortened(box)}; takes four numbers, x y width height, in pixels"
        ) from None
    if w <= 0 or h <= 0:
        raise InputError(f"box: got {x:g} {y:g} {w:g} {h:g}; takes a positive width and height")
    if not 1 <= max(w, h) <= LONGEST:
        raise InputError(
            f"box: got {x:g} {y:g} {w:g} {h:g}; takes a longer side from 1 to {LONGEST} pixels"
        )
    return x, y, w, h


def check_box(box: Sequence[float], width: int, height: int) -> Box:
    """The box as four floats.

    Raises:
        InputError: it is not x, y, width, height of an area that overlaps an image of this size.
    """
    x, y, w, h = read_box(box)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"box: {x:g} {y:g} {w:g} {h:g} lies outside the picture of {width} x {height} pixels"
        )
    return x, y, w, h


def shortened(value: Any) -> str:
    """`repr(value)`, cut to 60 characters. Python refuses to print very long integers."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
