"""What JSON annotation files are by their beginning and name, and where their images are."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from softgate_ext.data.image_files import find_images
from softgate_ext.files.reading import chunks

Part = Literal["train", "trainval", "val", "test"]
"""What files and folders are called by; `trainval` is both of the first two."""

_ANNOTATIONS = ("annotations", "annot")

_WORD = re.compile(
    r"(?<![a-z])(?:(train[_-]?val)|(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)\d*"
    r"(?![a-z\d])",
    re.IGNORECASE,
)


def is_annotations(folder: Path) -> bool:
    """Whether a folder is one of annotation files inside a dataset's own, by its name in any case."""
    return folder.name.lower() in _ANNOTATIONS


def annotation_folders(path: Path) -> list[Path]:
    """A dataset's folder, and those of annotation files in it."""
    return [path, *sorted(one for one in path.iterdir() if is_annotations(one) and one.is_dir())]


def peek(path: Path) -> str:
    """The first characters of a file, gzipped or not: enough to tell a list from an object."""
    start = next(chunks(path), b"")[:8192]
    return start.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")


def part_of(name: str) -> Part | None:
    """The part that the name of a file or folder says, as `person_keypoints_val2017.json` does.

    Of several words the last counts.
    """
    words = list(_WORD.finditer(name))
    return _PARTS[words[-1].lastindex or 0] if words else None


_PARTS: tuple[Part | None, ...] = (None, "trainval", "train", "val", "test")


def part_of_folder(folder: Path) -> Part | None:
    """The part that a folder is called as, with nothing else in its name."""
    name = folder.absolute().name
    return part_of(name) if _WORD.fullmatch(name) else None


def part_of_file(path: Path) -> Part | None:
    """The part that a file is by its name, or else by that of its folder."""
    return part_of(path.name) or part_of_folder(path.parent)


def is_test_part(path: Path) -> bool:
    """Whether a file is for testing, as `person_keypoints_val2017.json` is."""
    return part_of_file(path) in ("val", "test")


def find_pictures(
    path: Path, names: Sequence[str], must_exist: bool = True
) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures that an annotation file names, and notes, as `find_images`.

    The dataset that names do not lead out of is the folder of the file, or the one above where that
    is called as a part, or the one that holds `annotations`.

    They are looked for beside the file and up to two folders above, each time in `images/`,
    `data/` and directly, and first in a folder there, or in `images/`, that is called as the last
    part of the file's name (`val2017` of `person_keypoints_val2017.json`).
    """
    stem = path.name.split(".")[0]
    subsets = dict.fromkeys((stem.split("_")[-1], stem.removeprefix("person_keypoints_")))
    own = [f"images/{subset}" for subset in subsets] + list(subsets)
    bases = Path(os.path.abspath(path)).parents[:3]
    inside = [base for base in bases if is_annotations(base)]
    home = inside[-1].parent if inside else bases[0]
    dataset = home.parent if part_of_folder(home) else home
    home = home / "images" if (home / "images").is_dir() and "/" not in names[0] else home
    return find_images(names, bases, [*own, "images", "data", "."], must_exist, home, dataset)
