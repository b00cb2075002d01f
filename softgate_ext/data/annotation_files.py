"""JSON annotation files: their format, and which of several in a folder is which part."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from softgate_ext.data.coco import read_coco
from softgate_ext.data.dataset_source import DatasetSource, source_of_parts
from softgate_ext.data.jsonfile import (
    Part,
    annotation_folders,
    is_test_part,
    part_of_file,
    part_of_folder,
    peek,
)
from softgate_ext.data.mpii_json import read_mpii_json
from softgate_ext.data.poseset import Split
from softgate_ext.errors import InputError
from softgate_ext.files.reading import chunks


def json_dataset(path: Path, argument: str = "path") -> DatasetSource:
    """The dataset in an annotation file.

    Raises:
        InputError: the format is not known.
    """
    start = peek(path)
    splits: tuple[Split, ...] = ("test",) if is_test_part(path) else ("train",)
    if start.startswith("{") and any(f'"{word}"' in start for word in _COCO_WORDS):
        return DatasetSource("coco", "key points in COCO's form", path, read_coco, splits)
    if start.startswith("[") and any(f'"{word}"' in start for word in _MPII_WORDS):
        if '"isValidation"' in start:
            splits = ("train", "test")
        return DatasetSource("mpii-json", "MPII Human Pose as JSON", path, read_mpii_json, splits)
    raise InputError(
        f"{argument}: {path} is not a known annotation file; it must be COCO's object with "
        "images, annotations and categories, or MPII's list of people"
    )


_COCO_WORDS = ("images", "annotations", "categories")
_MPII_WORDS = ("joint_self", "joints")


def annotations_in(path: Path) -> DatasetSource | None:
    """The dataset of annotation files in a folder, or in its subfolders named after the parts.

    If a folder has several files, those without key points are not read, and a note says so.

    Returns:
        The dataset, or None if there is no annotation file.
    """
    places = annotation_folders(path)
    named: dict[Part | None, list[Path]] = {}
    beside = [file for place in places for file in _json_files(place)]
    if beside:
        called = [file for file in beside if "keypoints" in file.name.lower()] or beside
        several = len(called) > 1
        files = [file for file in called if not several or _holds_keypoints(file)] or called
        bare = ", ".join(file.name for file in called if file not in files)
        notes = [f"{bare} not read: no key points"] if bare else []
        if len(files) == 1:
            one = json_dataset(files[0])
            parts = {part: [(one, part)] for part in one.splits}
            return source_of_parts(path, parts, notes) if notes else one
        for file in files:
            named.setdefault(part_of_file(file), []).append(file)
        return _by_part(path, named, notes)
    for folder in sorted(child for place in places for child in place.iterdir() if child.is_dir()):
        part = part_of_folder(folder)
        files = _json_files(folder) if part is not None else []
        if files:
            named.setdefault(part, []).extend(files)
    return _by_part(path, named, several=True) if named else None


def _json_files(folder: Path) -> list[Path]:
    """The annotation files of known formats in a folder."""
    named = (file for file in folder.iterdir() if file.name.lower().endswith(_ENDS))
    return [file for file in sorted(named) if _is_known(file)]


_ENDS = (".json", ".json.gz")


def _is_known(path: Path) -> bool:
    try:
        json_dataset(path)
    except InputError:
        return False
    return True


def _by_part(
    path: Path,
    named: Mapping[Part | None, list[Path]],
    notes: Sequence[str] = (),
    several: bool = False,
) -> DatasetSource:
    """The dataset of annotation files that are named after its parts; other files are not read.

    If there are three parts, "test" is `val`, because the labels of `test` are often not published.
    `trainval` is used for training if there is no `train`; "test" is `test` then.

    Args:
        path: the folder.
        named: the files by the part in their names, None for no part.
        notes: notes for the samples.
        several: whether a part may consist of several files, which are read one after another.

    Raises:
        InputError: a part has several files; or no file is named as training, but some file has no
            part in its name.
    """
    train: Part = "train" if "train" in named else "trainval"
    whole = train in named and train == "trainval"
    test: Part = "val" if "val" in named and not whole else "test"
    chosen: dict[Split, list[Path]] = {"train": named.get(train, []), "test": named.get(test, [])}
    unclear = not chosen["train"] and None in named
    if unclear or not several and any(len(files) > 1 for files in chosen.values()):
        names = ", ".join(file.name for files in named.values() for file in files)
        raise InputError(
            f"{path} must hold one annotation file with train in its name and one with val, got "
            f"{names}; give one of them, or choose the parts with --train-folder and --test-folder"
        )
    left = [file for part, files in named.items() if part not in (train, test) for file in files]
    parts: dict[Split, list[tuple[DatasetSource, Split]]] = {
        part: [(json_dataset(file), "all") for file in files] for part, files in chosen.items()
    }
    source = source_of_parts(path, parts, [*notes, *not_read(path, left)])
    return replace(source, unread=tuple(left))


def not_read(path: Path, files: Sequence[Path]) -> list[str]:
    """A note that names annotation files of a dataset which are not read; empty without such files.

    A file in a subfolder is named by the subfolder.
    """
    here = annotation_folders(path)
    names = [file.name if file.parent in here else file.parent.name for file in files]
    left = ", ".join(dict.fromkeys(names))
    return [f"{left} not read; --train-folder and --test-folder choose other parts"] if left else []


def _holds_keypoints(path: Path) -> bool:
    """Whether a file has key points or joints anywhere, found without parsing it."""
    before = b""
    try:
        for chunk in chunks(path):
            if _KEYS.search(before + chunk):
                return True
            before = chunk[-16:]
    except InputError:
        return True  # reading it will give the error
    return False


_KEYS = re.compile(rb'"(?:keypoints|joints|joint_self)"')
