"""The contents of a YOLO data.yaml: its parts, images, label files and joints."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from softgate_ext.data.entries import ReadingNotes, identity
from softgate_ext.data.image_files import find_images
from softgate_ext.data.images import picture_formats
from softgate_ext.data.jsonfile import peek
from softgate_ext.data.outside import check_inside, is_outside, outside_allowed
from softgate_ext.data.poseset import Split
from softgate_ext.data.told_joints import tell_renamed, told_skeleton, written_names
from softgate_ext.errors import InputError, reason
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import unusual
from softgate_ext.files.reading import chunks
from softgate_ext.files.unfolding import check_holes
from softgate_ext.pose.skeleton import COCO, Skeleton


def has_keypoints(path: Path) -> bool:
    """Whether a YAML file is a data.yaml with key points, by its first characters."""
    return re.search(r"""^["']?kpt_shape["']?\s*:""", peek(path), re.MULTILINE) is not None


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a data.yaml with `kpt_shape`.

    Raises:
        InputError: the file is missing, is not YAML, or has no `kpt_shape`.
    """
    try:
        contents = yaml.load(b"".join(chunks(path, takes="a data.yaml")), _Plain)  # nosec B506
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an invalid date: ValueError
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not valid YAML ({words}); give a data.yaml") from None
    if not isinstance(contents, dict) or "kpt_shape" not in contents:
        raise InputError(f"{path} must have kpt_shape, as the data.yaml of YOLO's poses has")
    return contents


class _Plain(yaml.SafeLoader):
    """A loader that refuses aliases, with which a few lines can expand to more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which are not read")
        return super().compose_node(parent, index)


def parts_of(contents: dict[str, Any]) -> dict[Split, str]:
    """The names of the entries that are "train" and "test"; the latter is `val`, or else `test`."""
    given = {"train": ["train"], "test": ["val", "test"]}
    found = {part: [name for name in names if contents.get(name)] for part, names in given.items()}
    return {part: names[0] for part, names in found.items() if names}  # type: ignore[misc]


def read_skeleton(
    contents: dict[str, Any], path: Path, notes: ReadingNotes
) -> tuple[Skeleton, int]:
    """The skeleton of a data.yaml.

    The names are those of `kpt_names`: a list, an object with a list for each class, or an object with
    a name for each number. Without `kpt_names` they are COCO's if `flip_idx` is COCO's, else numbers.
    Left and right are paired by `flip_idx` and the names, see `told_pairs`.

    Returns:
        The skeleton, and the numbers per joint, 2 or 3.

    Raises:
        InputError: `kpt_shape` is not valid, or classes have different joints.
    """
    shape = contents["kpt_shape"]
    if not (_integers(shape) and len(shape) == 2 and 1 <= shape[0] <= 1000 and shape[1] in (2, 3)):
        raise InputError(
            f"{path} must have kpt_shape [joints, 2] or [joints, 3], up to 1000 joints"
        )
    count, numbers = shape
    flip = contents.get("flip_idx")
    classes = listed_classes(contents) or {}
    given = contents.get("kpt_names")
    if isinstance(given, dict):
        given = _by_number(given) or _by_class(given, classes, path)
    written = written_names(given)
    if len(written) == count:
        tell_renamed(given, notes)
    elif flip == list(COCO.flip_permutation):
        written = COCO.joints
    else:
        written = tuple(f"joint_{place}" for place in range(1, count + 1))
        notes.say(f"kpt_names is missing; {counted(count, 'joint[s] [is|are]')} numbered")
        if not flip:
            notes.say("flip_idx is missing; no joints change places in a mirror image")
    if len(classes) > 1:
        notes.say(f"{len(classes)} classes are read as one set")
    name = next(iter(classes.values())).lower() if len(classes) == 1 else "yolo"
    return told_skeleton(name, written, (), [{"flip_idx": flip}], notes), numbers


def listed_classes(contents: dict[str, Any]) -> dict[str, str] | None:
    """The classes of `names` by their numbers as text; None if it is neither a list nor an object."""
    names = contents.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        return None
    return {str(identity(number)): str(name) for number, name in names.items()}


def _by_number(given: dict[Any, Any]) -> list[Any] | None:
    """The names of an object with a name for each number from 0; None for another object."""
    names = {identity(number): name for number, name in given.items()}
    places = [str(place) for place in range(len(given))]
    if any(isinstance(name, list) for name in names.values()) or {*names} != {*places}:
        return None
    return [names[place] for place in places]


def _by_class(given: dict[Any, Any], classes: dict[str, str], path: Path) -> Any:
    """The names that all classes share, in an object with a list for each class; None without any.

    A class that `names` does not list is used only if there is no other, because its lines are left
    out.

    Raises:
        InputError: two classes have different names.
    """
    known = {**{title: title for title in classes.values()}, **classes}
    lists = [(str(identity(key)), names) for key, names in given.items() if written_names(names)]
    listed = [(known[key], names) for key, names in lists if key in known]
    (one, kept), *others = listed or lists or [("", None)]
    for other, names in others:
        if _lower(names) != _lower(kept):
            raise InputError(
                f"{path} has kpt_names of classes with different joints ({one} and {other}); "
                "give one data.yaml for each class"
            )
    return kept


def _lower(names: Any) -> list[str]:
    return [name.lower() for name in written_names(names)]


def pictures_of(
    contents: dict[str, Any], entry: str, path: Path, must_exist: bool, notes: ReadingNotes
) -> list[Path]:
    """The images of an entry, which is a folder, a .txt with names, or a list of these.

    Names are relative to the entry `path`, or to the folder of the data.yaml. `../images`, which some
    tools write for `images`, is tried both ways.

    Args:
        contents: the data.yaml.
        entry: name of the entry.
        path: path of the data.yaml.
        must_exist: whether a missing image is an error.
        notes: gets a note if none of the images in a .txt exists.

    Raises:
        InputError: a folder or file does not exist, or is outside of the dataset, which is the folder
            of the data.yaml; or an image is missing.
    """
    given = contents[entry]
    names = _texts(given if isinstance(given, list) else [given])
    if not names:
        raise InputError(f"{path} must have a folder, a .txt file or a list of them as {entry}")
    root = contents.get("path")
    bases = [path.parent / root, path.parent] if isinstance(root, str) else [path.parent]
    pictures: list[Path] = []
    for name in names:
        tries = [base / one for base in bases for one in (name, name.removeprefix("../"))]
        there = [one for one in tries if os.path.exists(one)]
        own = [one for one in there if outside_allowed() or not is_outside(one, path.parent)]
        place = next(iter(own or there), None)
        if place is None:
            looked = ", ".join(map(str, dict.fromkeys(one.parent for one in tries)))
            raise InputError(
                f"{path}: its {entry} is {name}, which does not exist; looked in {looked}"
            )
        check_inside(place, path.parent, f"{entry} of {path}")
        if place.is_dir():
            pictures += _below(place)
        else:
            listed = [line for line in text_lines(place) if line]
            if not listed:
                continue
            found, absent = find_images(
                listed, [place.parent, *bases], ["."], must_exist, dataset=path.parent
            )
            pictures += found
            for sentence in absent:
                notes.say(sentence)
    return list(dict.fromkeys(pictures))


def label_file(picture: Path) -> Path:
    """The label file of an image: its path with `labels` for the last `images`, or beside the image."""
    parts = list(picture.parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def without_pictures(labels: Iterable[Path]) -> list[Path]:
    """The label files in the same folders that belong to no image."""
    known = set(labels)
    beside = (file for folder in {path.parent for path in known} for file in folder.glob("*.txt"))
    return sorted(file for file in beside if file not in known and file.name != "classes.txt")


def text_lines(path: Path) -> list[str]:
    """The lines of a text file; none if there is no such file.

    Raises:
        InputError: the file cannot be read.
    """
    if what := unusual(path):
        raise InputError(f"cannot read {path}, which is {what}; it must be a text file")
    try:
        check_holes(path)
        text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        if not os.path.lexists(path):  # also true for a name that no file can have
            return []
        raise InputError(f"cannot read {path} ({reason(error)}); it must be a text file") from None
    return [line.strip() for line in text.splitlines()]


def _below(folder: Path) -> list[Path]:
    formats = (*picture_formats(), "MPO")  # MPO files start with a JPEG, which is read
    known = {end for end, name in Image.registered_extensions().items() if name in formats}
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in known and not file.name.startswith(".")
    )


def _texts(value: Any) -> list[str]:
    """The value if it is a list of texts, else an empty list."""
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return list(value) if texts else []


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)
