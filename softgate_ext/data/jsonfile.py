"""JSON annotation files: their part by their names, their first characters, and their images."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from softgate_ext.data.image_files import find_images
from softgate_ext.files.reading import chunks

Part = Literal["train", "trainval", "val", "test"]
"""The part in the name of a file or folder; `trainval` is train and val together."""

_ANNOTATIONS = ("annotations", "annot")

_WORD = re.compile(
    r"(?<![a-z])(?:(train[_-]?val)|(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)\d*"
    r"(?![a-z\d])",
    re.IGNORECASE,
)


def is_annotations(folder: Path) -> bool:
    """Whether a folder is one for annotation files, by its name in any case."""
    return folder.name.lower() in _ANNOTATIONS


def annotation_folders(path: Path) -> list[Path]:
    """A dataset's folder, and the folders for annotation files in it."""
    return [path, *sorted(one for one in path.iterdir() if is_annotations(one) and one.is_dir())]


def peek(path: Path) -> str:
    """The first characters of a file, gzipped or not; enough to distinguish a list from an object."""
    start = next(chunks(path), b"")[:8192]
    return start.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")


def part_of(name: str) -> Part | None:
    """The part in the name of a file or folder, such as `person_keypoints_val2017.json`, or None.

    If there are several such words, the last one counts.
    """
    words = list(_WORD.finditer(name))
    return _PARTS[words[-1].lastindex or 0] if words else None


_PARTS: tuple[Part | None, ...] = (None, "trainval", "train", "val", "test")


def part_of_folder(folder: Path) -> Part | None:
    """The part of a folder whose name is only the word for a part, or None."""
    name = folder.absolute().name
    return part_of(name) if _WORD.fullmatch(name) else None


def part_of_file(path: Path) -> Part | None:
    """The part of a file by its name, or else by the name of its folder, or None."""
    return part_of(path.name) or part_of_folder(path.parent)


def is_test_part(path: Path) -> bool:
    """Whether a file is a test part by its name, such as `person_keypoints_val2017.json`."""
    return part_of_file(path) in ("val", "test")


def find_pictures(
    path: Path, names: Sequence[str], must_exist: bool = True
) -> tuple[list[Path], tuple[str, ...]]:
    """Finds the images that an annotation file names; see `find_images`.

    The images are searched in the folder of the file and in up to two folders above. In each of these,
    a folder named after the last part of the file's name (`val2017` of
    `person_keypoints_val2017.json`) is searched first, directly or in `images/`; then `images/`,
    `data/` and the folder itself.

    Names must not lead out of the dataset. Its folder is that of the file; or the one above, if the
    file is in a folder for annotations or in one named after a part.

    Args:
        path: the annotation file.
        names: the N names of images in it.
        must_exist: whether a missing image is an error.

    Returns:
        The N files; and a note if none of them exists.

    Raises:
        InputError: as in `find_images`.
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
