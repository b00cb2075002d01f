"""Frames in and out, by OpenCV."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.prediction.sources import Source

Frame = npt.NDArray[np.uint8]
USUAL_RATE = 25.0  # frames a second, where a file or camera does not say

# FFmpeg inside OpenCV would print pages about a damaged file; the caller gets one sentence.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoReader:
    """The frames of a video or camera, (H, W, 3) uint8 RGB, one after the other.

    Attributes:
        rate: frames a second.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(0)
        try:
            place = source.place
            self._capture = cv2.VideoCapture(place if isinstance(place, int) else str(place))
        finally:
            cv2.utils.logging.setLogLevel(before)
        if not self._capture.isOpened():
            self.close()
            if source.kind == "camera":
                raise InputError(f"images: there is no {source} that can be opened")
            raise InputError(f"video {source} is not a video that can be read")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if math.isfinite(rate) and 1 <= rate <= 1000 else USUAL_RATE

    def __iter__(self) -> Iterator[Frame]:
        """Until the end of the video; raises InputError where there is not one frame."""
        any_frame = False
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            any_frame = True
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        if not any_frame:
            raise InputError(f"video {self.source} holds no frame that can be read")

    def close(self) -> None:
        self._capture.release()


class VideoWriter:
    """Frames of one size, (H, W, 3) uint8 RGB, into an MP4 file.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float, height: int, width: int) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), codec, rate, (width, height))
        self._size = (height, width)
        if not self._writer.isOpened():
            raise InputError(
                f"out: cannot write the video {path.name} of {width} x {height} pixels"
            )

    def write(self, frame: Frame) -> None:
        if frame.shape[:2] != self._size:  # some streams change their size on the way
            frame = cv2.resize(frame, self._size[::-1]).astype(np.uint8, copy=False)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
