"""What JSON annotation files are by their beginning and name, and where their images are."""

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from softgate_ext.errors import InputError


def peek(path: Path) -> str:
    """The first characters of a file, gzipped or not: enough to tell a list from an object."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return stream.read(8192).decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a readable JSON file ({error})") from None


def is_test_part(path: Path) -> bool:
    """Whether a file is for testing by its name, as `person_keypoints_val2017.json` is."""
    return bool(re.search(r"(?:^|[_.-])(?:val|valid|validation|test)\d*[_.-]", path.name))


def image_folder(path: Path, names: Sequence[str], subfolders: Sequence[str] = ()) -> Path:
    """Folder of the images that an annotation file names: the one with the first of them.

    Looked for beside the file and one level up, in these `subfolders`, in `images/` and directly;
    where there is none, the first place, so that messages name it.
    """
    places = [
        base / name
        for base in (path.parent, path.parent.parent)
        for name in (*subfolders, "images", ".")
    ]
    for place in places:
        if names and (place / names[0]).is_file():
            return place
    return next((place for place in places if place.is_dir()), places[0])
