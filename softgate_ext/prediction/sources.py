"""What the words of a command stand for: pictures, videos, cameras, and the boxes in them."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.prediction.person import shortened

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
GIVE = "give pictures, videos, folders, patterns, or a camera's number"


@dataclass(frozen=True)
class Source:
    """A picture or video (its path), or a camera (its number)."""

    kind: Literal["picture", "video", "camera"]
    place: Path | int

    def __str__(self) -> str:
        return f"camera {self.place}" if self.kind == "camera" else str(self.place)

    @property
    def stem(self) -> str:
        """What files about it are called."""
        return self.place.stem if isinstance(self.place, Path) else f"camera{self.place}"


def find_sources(words: Sequence[str]) -> list[Source]:
    """What paths, folders, glob patterns and camera numbers stand for, each once.

    A file whose name does not end like a video's is taken for a picture; of a folder, only files
    that end like a picture's or a video's are taken.

    Raises:
        InputError: there is no word, or one is empty, stands for nothing or cannot be looked up.
    """
    if not words or "" in words:  # a variable that is not set; as a path, the working folder
        raise InputError(f"images: got none; {GIVE}")
    found: dict[Source, None] = {}
    for word in words:
        path = Path(word)
        try:
            if word.isdecimal() and not path.exists():
                found[Source("camera", int(word))] = None
                continue
            if path.is_dir():
                known = (*PICTURES, *VIDEOS)
                files = sorted(p for p in path.iterdir() if p.suffix.lower() in known)
            elif path.is_file():
                files = [path]
            else:
                files = sorted(p for p in map(Path, glob.glob(word, recursive=True)) if p.is_file())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"images: cannot look up {shortened(word)} ({reason}); {GIVE}"
            ) from None
        if not files:
            raise InputError(f"images: {word} stands for no picture; {GIVE}")
        for file in files:
            kind: Literal["picture", "video"] = (
                "video" if file.suffix.lower() in VIDEOS else "picture"
            )
            found[Source(kind, file)] = None
    return list(found)


class BoxList:
    """The boxes that a JSON list of {"file", "bbox_xywh"} holds for each picture.

    Raises:
        InputError: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        entries = read_json(path, "boxes")
        try:
            self._listed = [(Path(entry["file"]), entry["bbox_xywh"]) for entry in entries]
        except (TypeError, KeyError, AttributeError):
            raise InputError(
                f'boxes: {path} is not a list of {{"file", "bbox_xywh"}} entries'
            ) from None

    def of(self, picture: Path) -> list[Any]:
        """The boxes of a picture or video.

        A file in the list is a path seen from the working folder or from the list's own, or the
        end of a path ("im0001.jpg", "images/im0001.jpg").

        Raises:
            InputError: the list holds none.
        """
        paths = {picture.absolute(), picture.resolve()}

        def names(file: Path) -> bool:
            if {file.resolve(), (self.path.parent / file).resolve()} & paths:
                return True
            ends = not file.is_absolute() and bool(file.parts) and ".." not in file.parts
            return ends and any(path.parts[-len(file.parts) :] == file.parts for path in paths)

        own = [value for file, value in self._listed if names(file)]
        if not own:
            raise InputError(
                f"boxes: {self.path} has no entry for {picture}; give each picture a box"
            )
        return own
