"""The sources of a prediction: how words of the command line become images, videos and cameras."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.errors import InputError
from softgate_ext.files.paths import unusual
from softgate_ext.prediction.animation import AnimationReader
from softgate_ext.prediction.kinds import Kind, kind_of
from softgate_ext.prediction.person import shortened
from softgate_ext.prediction.video import CameraReader, VideoReader
from softgate_ext.pretrained.shipped import DEFAULT
from softgate_ext.runs.places import is_run

Reader = VideoReader | AnimationReader | CameraReader
GIVE = "give pictures, videos, folders, patterns, or a camera's number"


@dataclass(frozen=True)
class Source:
    """An image, animation or video, given by its path, or a camera, given by its number."""

    kind: Kind | Literal["camera"]
    place: Path | int

    def __str__(self) -> str:
        return f"camera {self.place}" if self.kind == "camera" else str(self.place)

    @property
    def stem(self) -> str:
        """The stem of the names of its output files."""
        return self.place.stem if isinstance(self.place, Path) else f"camera{self.place}"


def find_sources(words: Sequence[str]) -> tuple[list[Source], dict[str, InputError]]:
    """The sources that paths, folders, glob patterns and camera numbers stand for, each once.

    The content of a file decides what it is. In a folder, hidden files are left out, and files that
    are neither by content nor by name an image or a video. Such a file that is named itself is
    treated as an image.

    Returns:
        The sources; and an error for each word that stands for nothing or cannot be looked up.

    Raises:
        InputError: there is no word, or one is empty.
    """
    if not words or "" in words:  # probably an unset variable; Path("") would be the working folder
        raise InputError(f"images: got none; {GIVE}")
    found: dict[Source, None] = {}
    lost: dict[str, InputError] = {}
    for word in words:
        path = Path(word)
        try:
            if word.isdecimal() and not path.exists():
                found[Source("camera", int(word))] = None
                continue
            if path.is_dir():
                files = sorted(p for p in path.iterdir() if _is_source(p) and p.name[0] != ".")
                sources = [Source(kind, file) for file in files if (kind := kind_of(file))]
            else:
                files = (
                    [path]
                    if _is_source(path)
                    else sorted(map(Path, glob.glob(word, recursive=True)))
                )
                sources = [Source(kind_of(p) or "picture", p) for p in files if _is_source(p)]
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            lost[word] = InputError(f"images: cannot look up {shortened(word)} ({reason}); {GIVE}")
            continue
        if not sources:
            lost[word] = InputError(f"images: {word} matches no picture or video; {GIVE}")
        found.update(dict.fromkeys(sources))
    return list(found), lost


def _is_source(path: Path) -> bool:
    """Whether a path is a file, or a pipe or device, for which reading gives an error."""
    return path.is_file() or unusual(path) is not None


def run_and_images(run: Path | None, images: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """The run, which defaults to the shipped weights, and the words that name images.

    Args:
        run: the first word of the command, which may also name an image.
        images: the other words.

    Raises:
        InputError: the only word is neither a run nor an image.
    """
    if run is None:
        return Path(DEFAULT), images
    if is_run(run):
        return run, images
    _, lost = find_sources([str(run)])
    if not lost:
        return Path(DEFAULT), (str(run), *images)
    if images:  # the first word is probably a misspelt run: opening it raises the error
        return run, images
    raise InputError(
        f"images: got {shortened(str(run))}, which is neither a run nor a picture; {GIVE}"
    )


def open_frames(source: Source) -> Reader:
    """The reader of a video, an animation or a camera.

    Raises:
        InputError: it cannot be opened.
    """
    if isinstance(source.place, int):
        return CameraReader(source.place)
    return (
        AnimationReader(source.place) if source.kind == "animation" else VideoReader(source.place)
    )
