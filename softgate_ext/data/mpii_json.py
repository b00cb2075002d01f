"""MPII's people in the JSON files that most code for it reads, in either of two forms."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.data.jsonfile import image_folder, is_test_part
from softgate_ext.data.mpii import AnnotatedPerson, pose_set
from softgate_ext.data.poseset import PoseSet, Split, check_split
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import MPII


def read_mpii_json(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Read a list of people with 1-based coordinates.

    Either `joint_self` (16 x [x, y, visible], missing = 0, 0), `objpos`, `scale_provided`,
    `isValidation`, `img_paths`, and 1-based `annolist_index` and `people_index` (Wei et al. 2016);
    or `joints`, `joints_vis` (0 = not labelled), `center`, `scale`, `image` (Xiao et al. 2018),
    which does not tell hidden joints from visible ones: labelled ones all count as visible.

    Crops are as `read_mpii` makes them. There are no head boxes in these files.

    Args:
        path: The file; may be gzipped.
        split: By `isValidation`. A file of the second form holds one part: "test" where its name
            says val or test, else "train".
        check_images: Whether a missing image is an error.

    Raises:
        InputError: The file or an image is missing or unreadable, or the split is empty.
    """
    path = Path(path)
    check_split(split)
    contents = read_json(path)
    first = contents[0] if isinstance(contents, list) and contents else None
    if not isinstance(first, dict) or not ("joint_self" in first or "joints" in first):
        raise InputError(
            f"{path} must hold a list of people with joint_self, or with joints and image"
        )
    held = is_test_part(path)
    chosen = []
    for index, person in enumerate(contents):
        try:
            in_test = bool(person["isValidation"]) if "joint_self" in person else held
            entry = _entry(person) if split in ("all", "test" if in_test else "train") else None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"person {index + 1} of {path} is not as the others "
                f"({type(error).__name__}: {error})"
            ) from None
        if entry is not None:
            chosen.append(entry)
    people = pose_set(chosen, [], split, path, partial(image_folder, path), check_images)
    known = people.persons is not None and (people.persons >= 0).all()
    return replace(people, head_boxes=None, persons=people.persons if known else None)


def _entry(person: dict[str, Any]) -> AnnotatedPerson:
    if "joint_self" in person:
        values = np.zeros((len(MPII), 3))
        given = np.asarray(person["joint_self"], np.float64)
        values[: len(given)] = given  # trailing joints that are missing may be cut off
        positions, flag = values[:, :2], values[:, 2]
        labelled = (positions != 0).any(-1)
        visible = labelled & (flag > 0)
        center, scale, image = person["objpos"], person["scale_provided"], person["img_paths"]
        place = int(person["annolist_index"]) - 1, int(person["people_index"]) - 1
    else:
        positions = np.asarray(person["joints"], np.float64)
        labelled = np.asarray(person["joints_vis"]) > 0
        visible = labelled
        center, scale, image = person["center"], person["scale"], person["image"]
        place = -1, -1
    positions = np.where(labelled[:, None], positions - 1, 0.0)
    if positions.shape != (len(MPII), 2) or labelled.shape != (len(MPII),):
        raise ValueError(f"joints of shape {positions.shape}")
    if not np.isfinite(positions).all():
        raise ValueError("a joint is not finite")
    x, y = (float(value) for value in center)
    if (x, y) == (-1, -1):  # which stands for no position
        scale = 0.0
    return AnnotatedPerson(
        str(image), place, (x - 1, y - 1), float(scale), positions, labelled, visible, (np.nan,) * 4
    )
