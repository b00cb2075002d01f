"""Readers and a writer of frames with their times: video files by PyAV, cameras by OpenCV."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.files.paths import unusual

USUAL_RATE = 25.0  # frames per second, if a file or camera does not state it
PACKETS = (
    188,
    192,
    204,
)  # bytes: the packet sizes of transport streams, plain, with time, with checksum
# The formats that are opened, by FFmpeg's names. FFmpeg's formats of images and texts are left out, and
# so are lists of other files or addresses (concat, hls, dash, sdp, imf ...).
CONTAINERS = ("mov", "matroska", "avi", "mpeg", "mpegts", "asf", "flv", "ogg", "mxf", "dv")
STREAMS = ("mpegvideo", "m4v", "h264", "hevc", "obu", "ivf", "yuv4mpegpipe")
FORMATS = (*CONTAINERS, *STREAMS)
MOST_PIXELS = 1 << 27  # of a frame, because a few bytes can claim any size; 8K has 2^25
TICK = Fraction(1, 90_000)  # seconds: the time base of a written video


@dataclass(frozen=True)
class Frame:
    """A frame (H, W, 3) uint8 RGB, and its time in seconds from the start of the video."""

    picture: npt.NDArray[np.uint8]
    seconds: float


class VideoReader:
    """An iterator over the frames of a video file, upright, with the times that the file states.

    Args:
        path: the file.
        head: number of bytes from the start from which FFmpeg must recognise the format. The default
            is FFmpeg's own.

    Attributes:
        rate: average frames per second.
        cut: whether the file is damaged or ends within a frame; known when the iteration has ended.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: Path, head: int = 1 << 20) -> None:
        if what := unusual(path):
            raise InputError(
                f"video {path} is {what}, which could keep the program waiting for ever; it must be a file"
            )
        av = _pyav()
        self.path, self.cut, self._error = path, False, av.FFmpegError
        try:
            options = {
                "format_whitelist": ",".join(FORMATS),
                "protocol_whitelist": "file",
                "formatprobesize": str(head),
            }
            self._container = av.open(f"file:{path}", options=options)
        except (self._error, OSError, ValueError):
            raise InputError(f"video {path} is not a video that can be read") from None
        self._stream = self._container.streams.best("video")
        # FFmpeg presents the cover image of an audio file as a video of one frame.
        cover = av.stream.Disposition.attached_pic
        if self._stream is None or self._stream.disposition & cover:
            self.close()
            raise InputError(f"video {path} is not a video that can be read")
        coded = self._stream.codec_context
        if coded.width * coded.height > MOST_PIXELS:
            self.close()
            raise InputError(
                f"video {path} has frames of {coded.width} x {coded.height} pixels; takes up to "
                f"{MOST_PIXELS / 1e6:.0f} megapixels"
            )
        coded.options = {"max_pixels": str(MOST_PIXELS)}  # a frame may be larger than stated
        self._stream.thread_type = "AUTO"
        self.rate = _usable(self._stream.average_rate or self._stream.guessed_rate)

    def __iter__(self) -> Iterator[Frame]:
        """The frames until the end, or until the file is damaged; InputError if there is none."""
        first, number = self._container.start_time, 0
        start = None if first is None else first / 1e6
        for frame in self._frames():
            if start is None:  # a container of few frames may not state its start
                start = frame.time
            seconds = number / self.rate if frame.time is None else frame.time - (start or 0)
            picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield Frame(np.ascontiguousarray(picture), seconds)
            number += 1
        if not number:
            raise InputError(f"video {self.path} holds no frame that can be read")

    def _frames(self) -> Iterator[Any]:
        damaged, last = False, None  # the state of the last packet, and the last frame
        try:
            for packet in self._container.demux(self._stream):
                try:
                    if packet.size:  # an empty packet makes the decoder return its last frames
                        damaged = packet.is_corrupt
                    for frame in packet.decode():
                        yield frame
                        last = frame
                except self._error:
                    damaged = True
        except self._error:
            damaged = True
        broken = last is not None and last.is_corrupt
        self.cut = damaged or broken or self._ends_in_a_packet()

    def _ends_in_a_packet(self) -> bool:
        """Whether the file is a transport stream whose last packet is incomplete.

        A transport stream does not state its length, so that this is the only sign of a cut.
        """
        stream = self._container.format.name == "mpegts"
        return stream and all(self._container.size % size for size in PACKETS)

    def close(self) -> None:
        self._container.close()


class CameraReader:
    """An iterator over the frames of a camera, with the times at which they were read.

    Args:
        number: the number of the camera, as OpenCV counts.

    Attributes:
        rate: frames per second, as the camera states it.
        cut: always False, because a camera's frames have no last one.

    Raises:
        InputError: the camera cannot be opened.
    """

    def __init__(self, number: int) -> None:
        self.cut = False
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(0)
        try:
            self._capture = cv2.VideoCapture(number)
        finally:
            cv2.utils.logging.setLogLevel(before)
        self.number = number
        if not self._capture.isOpened():
            self.close()
            raise InputError(f"images: camera {number} does not exist or cannot be opened")
        self.rate = _usable(self._capture.get(cv2.CAP_PROP_FPS))

    def __iter__(self) -> Iterator[Frame]:
        """The frames until the camera is unplugged; InputError if there is none."""
        start = None
        while (read := self._capture.read())[0]:
            now = time.monotonic()
            start = now if start is None else start
            picture = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            yield Frame(picture.astype(np.uint8, copy=False), now - start)
        if start is None:
            raise InputError(f"images: camera {self.number} gives no frame")

    def close(self) -> None:
        self._capture.release()


class VideoWriter:
    """Writes frames to an MP4 file, H.264, each at its time.

    Args:
        path: the file.
        rate: average frames per second.
        height, width: size of the frames in pixels; other frames are resized to it.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float, height: int, width: int) -> None:
        av = _pyav()
        self._size, self._last, self._new = (height, width), -1, av.VideoFrame.from_ndarray
        try:
            self._container = av.open(f"file:{path}", "w", format="mp4")
            # No B-frames: MP4 would count their delay as part of the video's length.
            options = {"preset": "veryfast", "crf": "20", "bf": "0"}
            steady = max(Fraction(rate).limit_denominator(100_000), Fraction(1, 100_000))
            self._stream = self._container.add_stream("h264", steady, options)
            # Most players support only yuv420p, whose colour has half the resolution: sides are even.
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = TICK
            self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError):
            raise InputError(
                f"out: cannot write the video {path.name} of {width} x {height} pixels"
            ) from None

    def write(self, frame: Frame) -> None:
        """Appends a frame. If it is not later than the previous one, it gets the next time step."""
        height, width = self._size
        picture = frame.picture
        if picture.shape[:2] != self._size:  # a stream may change its size
            picture = cv2.resize(picture, (width, height)).astype(np.uint8, copy=False)
        even = ((0, height % 2), (0, width % 2), (0, 0))
        coded = self._new(np.pad(picture, even, "edge"), format="rgb24")
        self._last = max(self._last + 1, round(frame.seconds / TICK))
        coded.pts, coded.time_base = self._last, TICK
        self._container.mux(self._stream.encode(coded))

    def close(self) -> None:
        """Encodes the remaining frames and closes the file. A second call does nothing."""
        if self._last >= 0:
            self._last = -1
            self._container.mux(self._stream.encode())
        self._container.close()


def _usable(rate: Any) -> float:
    value = float(rate or 0)
    return value if math.isfinite(value) and 0 < value <= 1000 else USUAL_RATE


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise InputError("video: PyAV is not installed; pip install av, or give pictures") from None
    return av
