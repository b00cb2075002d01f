"""Boxes of the people in a picture, from the networks of `detection_networks`."""

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.prediction.detection_networks import BlazePoseDetector, Network, SsdLite
from softgate_ext.prediction.person import Box
from softgate_ext.ranges import check_range

MIN_BOX = 40.0
"""Below, a person has too few pixels for a pose (docs/prediction.md)."""
NETWORKS: tuple[type[Network], ...] = (SsdLite, BlazePoseDetector)


class PersonDetector:
    """People of a picture, by SSDLite and by BlazePose's detector; safe to share between threads.

    SSDLite finds people who stand or walk, small ones among them; BlazePose's detector finds people in
    unusual poses. `python -m benchmarks.detection` counts what each finds, and both together. One of
    them is enough.

    Args:
        min_score: boxes that a network is less sure of, from 0 to 1, are left out.
        min_box: boxes whose longer side is shorter are left out, pixels.

    Attributes:
        note: what to install so that more people are found, in one sentence; None where both networks
            are installed.

    Raises:
        InputError: no network is installed, a file is damaged, or a number is out of range.
    """

    def __init__(self, min_score: float = 0.5, min_box: float = MIN_BOX) -> None:
        check_range("detect_score", min_score)
        check_range("min_box", min_box)
        self.min_score, self.min_box = min_score, min_box
        self.networks: list[Network] = []
        absent = []
        for network in NETWORKS:
            try:
                self.networks.append(network())
            except FileNotFoundError:
                absent.append(network.install)
        told = f"pip install --no-deps {' '.join(absent)}"
        if not self.networks:
            raise InputError(
                "detect: no network that finds people is installed; pip install openvino and "
                f"{told}, or give boxes"
            )
        self.note = (
            f"detect: {absent[0]} is not installed; with it, {told}, more people are found"
            if absent
            else None
        )

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """Box (x, y, width, height in pixels, inside the picture) and score, best first.

        Args:
            picture: (H, W, 3) uint8, RGB.
        """
        people: list[tuple[Box, float]] = []
        for network in self.networks:
            found = network(picture, self.min_score)
            people += [one for one in found if not any(_same(one[0], box) for box, _ in people)]
        large = [one for one in people if max(one[0][2:]) >= self.min_box]
        return sorted(large, key=lambda one: -one[1])


def _same(new: Box, known: Box) -> bool:
    """Whether two networks mean one person: the middle of the new box is in the known one, and neither is
    twice as large as the other (a child before an adult).

    Boxes of BlazePose's detector are squares, whatever the pose, so that their overlap with a tight box
    says little.
    """
    x, y = new[0] + new[2] / 2, new[1] + new[3] / 2
    inside = known[0] <= x <= known[0] + known[2] and known[1] <= y <= known[1] + known[3]
    return inside and 0.5 < max(known[2:]) / max(new[2:]) < 2
