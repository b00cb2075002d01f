"""Joints of other programs and of our own, in the files that people exchange them in.

Arrays of (N, J, 2 or 3), a third value being a score, in any order of axes: MATLAB and Lua write
them transposed. People and joints are those of the dataset, in its order unless the file names
pictures (JSON: `image` of a person or a picture, `file`) or joints (`joint_names`); in the form of
a submission to MPII (`pred`) they are those of the same picture and `annorect`. Coordinates are 1-based in .mat
and .h5 files, as in MPII's own and the toolboxes around it, and 0-based in .npz and JSON, unless
the file says otherwise by a number called `origin`, or the caller does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from softgate_ext.data.join import select_joints
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_contents import NAMES, Contents, read_contents, require_h5py
from softgate_ext.evaluation.joint_order import rows_of
from softgate_ext.files.atomic import replacing, write_json
from softgate_ext.pose.skeleton import Skeleton

ORIGINS = {".mat": 1, ".h5": 1, ".hdf5": 1, ".npz": 0, ".json": 0}

# Where several fit: as it lies, then what MATLAB and HDF5 make of it, which reverse all axes.
_ORDERS = ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1))

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Joints of people, by a run or from a file.

    Attributes:
        joints: (N, J, 2) float64, 0-based pixels of the source images; NaN where there is none.
        scores: (N, J), the peak of each heatmap; of a file 1 where there is a joint, else 0.
        skeleton: The joints that were looked for, or that the file has by name; those of the
            dataset where it has no names.
        about: How they came about, for the JSON; of a file also the coordinate of the first pixel
            that it was taken to have, `origin`.
        notes: Sentences to print.
    """

    joints: Floats
    scores: Floats
    skeleton: Skeleton
    about: dict[str, Any]
    notes: tuple[str, ...]


def read_predictions(path: Path, people: PoseSet, origin: int | None = None) -> Found:
    """Joints of people from a file.

    Args:
        path: .mat, .h5, .npz or .json.
        people: The N people whose joints it must hold.
        origin: Coordinate of the first pixel, or None to go by the file.

    Raises:
        InputError: The file cannot be read, does not hold N people with J joints, or names other
            pictures or joints than the dataset.
    """
    suffix = _suffix(path, "predictions")
    if not path.is_file():
        raise InputError(
            f"predictions: there is no file {path}; takes one ending in {', '.join(ORIGINS)}"
        )
    contents = read_contents(path)
    rows = rows_of(path, contents, people)
    skeleton = people.skeleton
    if contents.joints is not None:
        skeleton = Skeleton("predictions", contents.joints, (), ())
        if not set(skeleton.joints) & set(people.skeleton.joints):
            raise InputError(
                f"predictions: {path} has joints named {', '.join(skeleton.joints)}; takes those "
                f"of the dataset, {', '.join(people.skeleton.joints)}"
            )
    count = len(people) if contents.images is None else len(contents.images)
    array, notes = _fitting(path, contents, count, len(skeleton))
    if origin is None:
        stored = np.asarray(ORIGINS[suffix] if contents.origin is None else contents.origin).ravel()
        if stored.size != 1 or stored[0] not in (0, 1):
            raise InputError(f"predictions: origin in {path} must be 0 or 1, got {stored.tolist()}")
        origin = int(stored[0])
    joints = select_joints(array[rows, :, :2] - origin, skeleton, people.skeleton)
    scores = np.where(np.isfinite(joints).all(-1), 1.0, 0.0)
    about = {"predictions": str(path), "origin": origin}
    return Found(joints, scores, skeleton, about, (f"predictions read as {origin}-based", *notes))


def write_predictions(
    path: Path, joints: Floats, scores: Floats, skeleton: Skeleton, images: Sequence[str]
) -> None:
    """Writes joints (N, J, 2), 0-based pixels, and scores (N, J), as `read_predictions` reads them.

    Raises:
        InputError: The suffix is none of the four, or the file cannot be written.
    """
    suffix = _suffix(path, "save_predictions")
    origin = ORIGINS[suffix]
    if suffix == ".json":
        entries = [
            {
                "image": name,
                "joints": [xy if math.isfinite(sum(xy)) else None for xy in places],
                "scores": sure,
            }
            for name, places, sure in zip(images, joints.tolist(), scores.tolist(), strict=True)
        ]
        names = list(skeleton.joints)
        write_json(path, {"origin": origin, "joint_names": names, "predictions": entries})
        return
    arrays: dict[str, Any] = {
        "preds": joints + origin,
        "scores": scores,
        "origin": np.array(origin),
    }
    with replacing(path) as temporary:
        if suffix == ".npz":
            with open(temporary, "wb") as file:
                np.savez_compressed(file, joint_names=np.array(skeleton.joints), **arrays)
        elif suffix == ".mat":
            arrays["joint_names"] = np.array(skeleton.joints, object)  # a cell array
            with open(temporary, "wb") as file:
                scipy.io.savemat(file, arrays, do_compression=True)
        else:
            with require_h5py().File(temporary, "w") as store:
                for name, value in arrays.items():
                    store[name] = value
                store["joint_names"] = list(skeleton.joints)


def _suffix(path: Path, argument: str) -> str:
    if path.suffix.lower() not in ORIGINS:
        raise InputError(f"{argument}: got {path}; takes a file ending in {', '.join(ORIGINS)}")
    return path.suffix.lower()


def _fitting(
    path: Path, contents: Contents, people: int, joints: int
) -> tuple[Floats, tuple[str, ...]]:
    """The array of the file that has the right shape, axes in the order people, joints, values;
    and a sentence where its shape leaves open which axes these are."""
    arrays = {
        name: np.asarray(value) for name, value in contents.arrays.items() if name != "scores"
    }
    for name in (*NAMES, *arrays):
        found = arrays.get(name)
        if found is None or found.dtype.kind not in "fiu":
            continue
        if (
            found.ndim == 2
            and found.shape[0] == people
            and found.shape[1] in (2 * joints, 3 * joints)
        ):
            found = found.reshape(people, joints, -1)
        shape = found.shape
        orders = [
            order
            for order in (_ORDERS if found.ndim == 3 else ())
            if (shape[order[0]], shape[order[1]]) == (people, joints) and shape[order[2]] in (2, 3)
        ]
        if not orders:
            continue
        notes: tuple[str, ...] = ()
        if len(orders) > 1 and not contents.by_person:
            axis = ("first", "second", "third")[orders[0][0]]
            notes = (f"the axes of {name} {shape} are ambiguous: the {axis} was taken as people",)
        return found.transpose(orders[0]).astype(np.float64), notes
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    raise InputError(
        f"predictions: {path} must hold {people} people with {joints} joints, an array of shape "
        f"({people}, {joints}, 2), got {shapes}"
    )
