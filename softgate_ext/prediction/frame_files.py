"""The files that are written for a video or camera, frame by frame: a drawn video and JSON lines."""

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import numpy as np
import numpy.typing as npt

from softgate_ext.prediction.person import Person
from softgate_ext.prediction.predict_config import Output
from softgate_ext.prediction.video import Frame, VideoWriter

Draw = Callable[[npt.NDArray[np.uint8], Sequence[Person]], npt.NDArray[np.uint8]]


@dataclass
class FrameFiles:
    """A drawn video, and a file with one line of JSON per frame.

    Attributes:
        draw: draws people on a copy of a frame.
        paths: the final paths of the files.
        video: the writer of the drawn video, or None if it is not wanted.
        lines: the file of JSON lines, or None if it is not wanted.
    """

    draw: Draw
    paths: list[Path] = field(default_factory=list)
    video: VideoWriter | None = None
    lines: TextIO | None = None

    def write(self, number: int, frame: Frame, people: Sequence[Person]) -> None:
        """Appends a frame."""
        if self.video is not None:
            self.video.write(replace(frame, picture=self.draw(frame.picture, people)))
        if self.lines is not None:
            about = {"frame": number, "seconds": round(frame.seconds, 4)}
            line = {**about, "people": [one.to_json() for one in people]}
            self.lines.write(json.dumps(line) + "\n")


@contextmanager
def frame_files(
    target: Path, outputs: Collection[Output], rate: float, height: int, width: int, draw: Draw
) -> Iterator[FrameFiles]:
    """Opens the files of a video. They appear when the block ends, unless it raises.

    Args:
        target: path of the drawn video; the JSON lines are put beside it.
        outputs: which of `overlay` and `json` are wanted.
        rate: average frames per second.
        height, width: size of the frames in pixels.
        draw: draws people on a copy of a frame.

    Raises:
        InputError: the video cannot be written.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix=".", dir=target.parent)))
        files = FrameFiles(draw)
        if "overlay" in outputs:
            files.paths.append(target)
            files.video = VideoWriter(scratch / target.name, rate, height, width)
            stack.enter_context(closing(files.video))
        if "json" in outputs:
            files.paths.append(target.with_suffix(".jsonl"))
            name = scratch / files.paths[-1].name
            files.lines = stack.enter_context(open(name, "w", encoding="utf-8"))
        yield files
        if files.video is not None:
            files.video.close()
        if files.lines is not None:
            files.lines.close()
        for path in files.paths:
            os.replace(scratch / path.name, path)
