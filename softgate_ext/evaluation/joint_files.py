"""Reading and writing of files of predicted joints, from this and from other programs.

A file holds an array (N, J, 2 or 3), in which a third value is a score, or a list of people as text
(`joint_forms`). The axes may be in any order, because MATLAB and Lua write them transposed. Entries are
matched to samples by image names and ids (`joint_identity`); in a submission to MPII (`pred`) by the
image and the position in `annorect`; and only without any of these by the order of the dataset. Joints
are named by `joint_names`, or are those of the dataset. Coordinates are 1-based in .mat and .h5 files,
as in MPII's own files and their toolboxes, and 0-based in .npz and text files, unless the file has a
number `origin`, or the caller gives it.
"""

import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from softgate_ext.data.join import absent_joints, select_joints
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.hdf5_files import require_h5py
from softgate_ext.evaluation.joint_contents import Contents, read_arrays
from softgate_ext.evaluation.joint_detections import Entries
from softgate_ext.evaluation.joint_forms import TEXTS, read_text
from softgate_ext.evaluation.joint_identity import Identity
from softgate_ext.evaluation.joint_keys import NAMES
from softgate_ext.evaluation.joint_people import rows_of, with_meaning
from softgate_ext.evaluation.joint_pictures import names_within
from softgate_ext.evaluation.joint_points import spelled_skeleton
from softgate_ext.evaluation.joint_unread import refuse_unread
from softgate_ext.files.atomic import write_bytes, write_json
from softgate_ext.files.counted import counted
from softgate_ext.pose.skeleton import Skeleton

ORIGINS = {".mat": 1, ".h5": 1, ".hdf5": 1, ".npz": 0, ".json": 0}

# The orders of axes, best first: as stored, then reversed, as MATLAB and HDF5 write them.
_ORDERS = ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1))

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """The predicted joints of N samples, from a run or a file.

    Attributes:
        joints: (N, J, 2) float64, in 0-based pixels of the source images; NaN for a missing joint.
        scores: (N, J). For a run the peak of each heatmap. For a file the score of the person, or the
            scores of the joints, or else 1. 0 for a missing joint.
        skeleton: the joints of the run; for a file its named joints, or else those of the dataset.
        about: the source of the joints, for the JSON; for a file also the `origin` that was used.
        notes: notes to print.
        entries: all entries of a file, if each of them names its image.
    """

    joints: Floats
    scores: Floats
    skeleton: Skeleton
    about: dict[str, Any]
    notes: tuple[str, ...]
    entries: Entries | None = None


def read_predictions(
    path: Path, people: PoseSet, origin: int | None = None, detections: bool = False
) -> Found:
    """Reads the joints of samples from a file.

    Args:
        path: a .mat, .h5, .npz, .json, .jsonl or .csv file.
        people: the N samples. If the file identifies its entries, samples may be missing, and there may
            be entries of others.
        origin: the coordinate of the first pixel; None to take it from the file.
        detections: whether entries may be detections, if each entry names its image. A person may then
            have several entries, entries may belong to nobody, and there is no note on those.

    Raises:
        InputError: the file cannot be read; it has other joints than the dataset; it identifies no
            entries and their number is not N; or its identities do not fit the dataset.
    """
    readable = (*ORIGINS, *(suffix for suffix in TEXTS if suffix not in ORIGINS))
    suffix = _suffix(path, "predictions", readable)
    if not path.is_file():
        raise InputError(
            f"predictions: there is no file {path}; takes one ending in {', '.join(readable)}"
        )
    contents = read_text(path, people) if suffix in TEXTS else read_arrays(path, people)
    skeleton = people.skeleton
    if contents.joints is not None:
        skeleton = spelled_skeleton(contents.joints)
        if absent_joints(people.skeleton, skeleton).all():
            raise InputError(
                f"predictions: {path} has joints named {', '.join(skeleton.joints)}; takes those "
                f"of the dataset, {', '.join(people.skeleton.joints)}"
            )
    who: Sequence[Identity] = [one or Identity() for one in contents.who]
    told = any(one.known for one in who)
    array, notes = _fitting(path, contents, len(who) if told else len(people), len(skeleton))
    notes = (*contents.notes, *notes)
    if len(who) == len(array):
        array[[one is None for one in contents.who]] = math.nan
    if origin is None:
        stored = np.asarray(
            ORIGINS.get(suffix, 0) if contents.origin is None else contents.origin
        ).ravel()
        if stored.size != 1 or stored[0] not in (0, 1):
            raise InputError(f"predictions: origin in {path} must be 0 or 1, got {stored.tolist()}")
        origin = int(stored[0])
    joints = select_joints(array[..., :2] - origin, skeleton, people.skeleton)
    scores = select_joints(_scores(array, contents), skeleton, people.skeleton)
    there = np.asarray(np.isfinite(joints).all(-1))
    scores = np.where(there, np.nan_to_num(scores), 0.0)
    if len(who) == len(array):
        own = np.array([[math.nan if one.score is None else one.score] for one in who])
        scores = np.where(np.isfinite(own) & there.any(1, keepdims=True), own, scores)
    entries = None
    if told:
        who = with_meaning(path, who, people)
        if all(one.pictured for one in who if one.known):
            entries = Entries(who, joints, scores)
        sure = (scores / np.maximum((scores != 0).sum(1, keepdims=True), 1)).sum(1)
        several = detections and entries is not None
        rows, more = rows_of(path, who, joints, sure, people, several)
        notes += more
        joints = np.where((rows >= 0)[:, None, None], joints[rows], math.nan)
        scores = np.where((rows >= 0)[:, None], scores[rows], 0.0)
    else:
        same = {key: column for key, column in contents.unread.items() if len(column) == len(array)}
        refuse_unread(path, same, people)
        notes = (
            "the file names no pictures; its entries are taken to be in the order of the dataset",
            *notes,
        )
    about = {"predictions": str(path), "origin": origin}
    said = (f"predictions read as {origin}-based", *notes)
    return Found(joints, scores, skeleton, about, said, entries)


def _scores(array: Floats, contents: Contents) -> Floats:
    """The scores (M, J) of the joints in the file, or 1 without scores."""
    own = np.asarray(contents.arrays.get("scores", ()))
    if own.shape == array.shape[:2] and own.dtype.kind in "fiu":
        return own.astype(np.float64)
    return array[..., 2] if array.shape[2] == 3 else np.ones(array.shape[:2])


def write_predictions(path: Path, joints: Floats, scores: Floats, people: PoseSet) -> None:
    """Writes the joints of N samples with their identities, so that `read_predictions` can match them.

    Args:
        path: a .mat, .h5, .npz or .json file.
        joints: (N, J, 2), in 0-based pixels.
        scores: (N, J).
        people: the samples. Their images, their crops as `box_xywh`, and the ids or positions in the
            dataset are written too.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
    """
    suffix = _suffix(path, "save_predictions", ORIGINS)
    origin = ORIGINS[suffix]
    names = list(people.skeleton.joints)
    crops = np.hstack([people.centers - people.sizes[:, None] / 2, *[people.sizes[:, None]] * 2])
    columns: dict[str, list[Any]] = {
        "image": names_within(people.image_paths),
        "box_xywh": crops.astype(np.float64).tolist(),
    }
    if people.ids is not None:
        named = zip(("image_id", "annotation_id"), people.ids.T.tolist(), strict=True)
        columns |= {name: keys for name, keys in named if None not in keys}
    elif people.persons is not None:
        columns["place"] = people.persons[:, 1].tolist()
    if suffix == ".json":
        entries = [
            {
                **dict(zip(columns, own, strict=True)),
                "joints": [xy if math.isfinite(sum(xy)) else None for xy in places],
                "scores": sure,
            }
            for places, sure, *own in zip(
                joints.tolist(), scores.tolist(), *columns.values(), strict=True
            )
        ]
        write_json(path, {"origin": origin, "joint_names": names, "predictions": entries})
        return
    words: dict[str, Any] = {
        name: [str(word) for word in values]
        for name, values in {"joint_names": names, **columns}.items()
        if name != "box_xywh"
    }
    arrays: dict[str, Any] = {
        "preds": joints + origin,
        "scores": scores,
        "origin": np.array(origin),
        "box_xywh": np.array(columns["box_xywh"]),
    }
    file = io.BytesIO()  # HDF5 would write to the disk when it closes, and crash if it is full
    if suffix == ".npz":
        np.savez_compressed(file, **arrays, **words)
    elif suffix == ".mat":
        cells = {name: np.array(values, object) for name, values in words.items()}
        scipy.io.savemat(file, {**arrays, **cells}, do_compression=True)
    else:
        with require_h5py().File(file, "w") as store:
            for name, value in {**arrays, **words}.items():
                store[name] = value
    write_bytes(path, file.getvalue())


def _suffix(path: Path, argument: str, takes: Collection[str]) -> str:
    if path.suffix.lower() not in takes:
        raise InputError(f"{argument}: got {path}; takes a file ending in {', '.join(takes)}")
    return path.suffix.lower()


def _fitting(
    path: Path, contents: Contents, people: int, joints: int
) -> tuple[Floats, tuple[str, ...]]:
    """The array with the joints, its axes in the order people, joints, values.

    Args:
        path: the file, for messages.
        contents: the contents of the file.
        people: the number of people that the array must have.
        joints: the number of joints that the array must have.

    Returns:
        The array, and a note if its shape does not determine the order of its axes.

    Raises:
        InputError: no array has these numbers of people and joints.
    """
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
        f"predictions: {path} must hold {counted(people, '[person|people]')} with "
        f"{counted(joints, 'joint[s]')}, an array of shape "
        f"({people}, {joints}, 2), got {shapes}"
    )
