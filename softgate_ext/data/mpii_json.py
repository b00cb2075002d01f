"""The reader of MPII's annotations as JSON, in the two forms that most code for MPII reads."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import OddEntry, ReadingNotes, numbers, tell_flags
from softgate_ext.data.jsonfile import find_pictures, is_test_part
from softgate_ext.data.misplaced import tell_misplaced
from softgate_ext.data.mpii import AnnotatedPerson, pose_set
from softgate_ext.data.poseset import PoseSet, Split, check_split
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import MPII


def read_mpii_json(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Reads a list of people with 1-based coordinates.

    The first form (Wei et al. 2016) has `joint_self` (16 x [x, y, visible], 0, 0 for a missing joint),
    `objpos`, `scale_provided`, `isValidation`, `img_paths`, and the 1-based `annolist_index` and
    `people_index`. The second form (Xiao et al. 2018) has `joints`, `joints_vis` (0 for not labelled),
    `center`, `scale` and `image`. It does not distinguish hidden from visible joints: all labelled
    joints count as visible.

    The crops are those of `read_mpii`. These files have no head boxes. People who cannot be read are
    left out; `PoseSet.notes` names them by their position in the list, from 1.

    Args:
        path: the file, which may be gzipped.
        split: the part, by `isValidation`. A file of the second form is one part: "test" if its name,
            or else its folder's name, contains val or test; else "train".
        check_images: whether a missing image is an error.

    Raises:
        InputError: the file or an image is missing or cannot be read, the file has another form, or the
            split is empty.
    """
    path = Path(path)
    check_split(split)
    contents = read_json(path)
    people = contents if isinstance(contents, list) else []
    if not any(isinstance(person, dict) and _FORMS & set(person) for person in people):
        raise InputError(
            f"{path} must hold a list of people with joint_self, or with joints and image"
        )
    held = is_test_part(path)
    notes = ReadingNotes()
    chosen: dict[str, AnnotatedPerson] = {}
    for place, person in enumerate(people, 1):
        which = f"number {place}"
        try:
            if not isinstance(person, dict):
                raise OddEntry("that [is not an object|are not objects]")
            in_test = bool(_value(person, "isValidation")) if "joint_self" in person else held
            if split in ("all", "test" if in_test else "train"):
                chosen[which] = _entry(person, which, notes)
        except OddEntry as odd:
            notes.count(f"[person|people] {odd} [is|are] left out", which)
    if chosen:
        joints = np.array([person.joints for person in chosen.values()])
        labelled = np.array([person.labelled for person in chosen.values()])
        tell_misplaced(notes, "[person|people]", [*chosen], joints, labelled)
    find = partial(find_pictures, path, must_exist=check_images)
    read = pose_set([*chosen.values()], notes.lines(), split, path, find)
    known = read.persons is not None and (read.persons >= 0).all()
    return replace(read, head_boxes=None, persons=read.persons if known else None)


_FORMS = {"joint_self", "joints"}


def _value(person: dict[str, Any], field: str, *shape: int) -> npt.NDArray[np.float64]:
    """The numbers of a field, in this shape; raises OddEntry if it has others."""
    values = numbers(person.get(field), *shape)
    if values is None:
        what = f"{' x '.join(map(str, shape))} finite numbers" if shape else "a finite number"
        raise OddEntry(f"without {what} as {field}")
    return values


def _entry(person: dict[str, Any], which: str, notes: ReadingNotes) -> AnnotatedPerson:
    joints = len(MPII)
    if "joint_self" in person:
        given = person["joint_self"]
        count = min(len(given), joints) if isinstance(given, list) else joints
        values = np.zeros((joints, 3))
        values[:count] = _value(person, "joint_self", count, 3)  # the last joints may be missing
        positions, flag = values[:, :2], values[:, 2]
        labelled = (positions != 0).any(-1)
        visible = labelled & (flag > 0)
        meaning = "visible"
        center, scale, image = "objpos", "scale_provided", "img_paths"
        image_place, person_place = (
            int(_value(person, field)) - 1 for field in ("annolist_index", "people_index")
        )
    else:
        positions = _value(person, "joints", joints, 2)
        flag = _value(person, "joints_vis", joints)
        visible = labelled = flag > 0
        meaning = "labelled"
        center, scale, image = "center", "scale", "image"
        image_place, person_place = -1, -1
    name = person.get(image)
    if not isinstance(name, str) or not name:
        raise OddEntry(f"without a name as {image}")
    x, y = _value(person, center, 2).tolist()
    size = 0.0 if (x, y) == (-1, -1) else _value(person, scale).item()  # (-1, -1): no position
    tell_flags(flag, "[person|people]", which, notes, meaning)
    positions = np.where(labelled[:, None], positions - 1, 0.0)
    return AnnotatedPerson(
        name, (image_place, person_place), (x - 1, y - 1), size, positions, labelled, visible,
        (np.nan,) * 4,
    )  # fmt: skip
