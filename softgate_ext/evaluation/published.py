"""Scores of published predictions in one .npz file with their ground truth.

The benchmark is recognised by the arrays of the file:
    MPII: `gt` (N, 16, 2), `headbox` (N, 2, 2) or (N, 4).
    LSP: `gt_pc` or `gt_oc` (N, 14, 2), person-centric or observer-centric.
    FLIC: `gt` (N, 11, 2), `torso_wh` (N, 2), width and height of the torso box.
There is one (N, J, 2) array `pred_NAME` for each predictor. The optional arrays `missing` and `visible`,
or `jnt_missing` and `jnt_visible` as in the ground truth of many MPII evaluations, are booleans or
numbers, (N, J), or (J, N) as MATLAB writes them. Other arrays are ignored.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError, reason
from softgate_ext.evaluation.comparison import Comparison
from softgate_ext.files.arrays import npz_arrays
from softgate_ext.pose.metrics import (
    box_diagonal,
    joint_distance,
    mpii_head_size,
)
from softgate_ext.pose.protocol import Protocol
from softgate_ext.pose.protocols import FLIC_PCK, LSP_PCK, PCKH
from softgate_ext.pose.sides import WORDS, Sides
from softgate_ext.pose.skeleton import LSP

PREFIX = "pred_"
Arrays = Mapping[str, npt.NDArray[Any]]


SIDES: dict[str, Sides] = {"gt_pc": "pc", "gt_oc": "oc"}
FLAGS = ("missing", "jnt_missing", "visible", "jnt_visible")


def compare(path: Path, labels: Sides | None = None) -> Comparison:
    """Scores every `pred_` array of a file.

    Args:
        path: the file.
        labels: the labels to use, person-centric ("pc") or observer-centric ("oc"); None for those of
            the file, and for person-centric ones if it has both.

    Raises:
        InputError: the file is missing or damaged, has no known form, or an array does not fit.
    """
    arrays = _read(path)
    protocol, name, notes = _kind(path, arrays, labels)
    people = arrays[name].shape[:1]
    joints = _numbers(path, arrays, name, (*people, len(protocol.skeleton), 2))
    labelled, visible = _counted(path, arrays, protocol, joints)
    length = _length(path, arrays, protocol, joints)
    known = np.isfinite(length)
    if not known.any():
        raise InputError(f"reference: {path} has no person whose {protocol.unit} is known")
    labelled &= known[:, None]
    scores = {}
    for key in arrays:
        if key.startswith(PREFIX):
            predicted = _numbers(path, arrays, key, joints.shape)
            result = protocol.score_joints(predicted, joints, labelled, length, visible)
            scores[key.removeprefix(PREFIX)] = result
    if not scores:
        raise InputError(f"reference: {path} must hold arrays named {PREFIX}NAME, got none")
    counts = int(known.sum()), int((~known).sum())
    sides = WORDS[SIDES[name]] if name in SIDES else None
    return Comparison(protocol, *counts, scores, {"reference": str(path)}, tuple(notes), sides)


def _read(path: Path) -> Arrays:
    """Reads the known arrays of the file. Others may have any type, even pickled objects."""
    wanted = ("gt", "gt_pc", "gt_oc", "headbox", "torso_wh", *FLAGS)
    try:
        return npz_arrays(path, lambda name: name in wanted or name.startswith(PREFIX))
    except Exception as error:
        raise InputError(
            f"reference: cannot read {path} ({reason(error)}); takes an .npz file of plain arrays: "
            "gt, what its benchmark needs, and pred_NAME"
        ) from None


def _counted(
    path: Path, arrays: Arrays, protocol: Protocol, joints: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None]:
    """The joints that count, (N, J) bool, and the visible joints, (N, J) bool, or None."""
    labelled = np.asarray(np.isfinite(joints).all(-1))
    shape = (len(joints), len(protocol.skeleton))
    missing = [_flags(path, arrays, key, shape) for key in FLAGS[:2] if key in arrays]
    for flags in missing:
        labelled &= ~flags
    if protocol is PCKH and not missing:
        labelled &= (joints != 0).any(-1)  # flat files of MPII have missing joints at (0, 0)
    visible = None
    for key in FLAGS[2:]:
        with suppress(InputError):  # an array of another form has another meaning
            visible = _flags(path, arrays, key, shape) if key in arrays else visible
    return labelled, visible


def _kind(path: Path, arrays: Arrays, labels: Sides | None) -> tuple[Protocol, str, list[str]]:
    """The benchmark of a file, the name of its ground truth, and notes on the choice."""
    notes = []
    if "headbox" in arrays:
        protocol, name = PCKH, "gt"
    elif "torso_wh" in arrays:
        protocol, name = FLIC_PCK, "gt"
    else:
        named = [key for key in (*SIDES, "gt") if key in arrays]
        protocol, name = LSP_PCK, named[0] if named else "gt_pc"
        if labels is not None and f"gt_{labels}" in named:
            name = f"gt_{labels}"
        elif set(SIDES) <= set(named):
            notes.append("its gt_oc is not used; --labels oc uses it")
    unknown = protocol is LSP_PCK and name == "gt" and arrays[name].shape[1:2] != (len(LSP),)
    if name not in arrays or unknown:
        raise InputError(
            f"reference: {path} must hold gt and headbox (MPII), gt_pc (LSP), or gt and torso_wh "
            f"(FLIC), got {', '.join(arrays) or 'none of them'}"
        )
    if labels is not None and SIDES.get(name) != labels:
        raise InputError(f"labels: got {labels}, which needs gt_{labels}, but {path} holds {name}")
    return protocol, name, notes


def _flags(path: Path, arrays: Arrays, key: str, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A boolean array (N, J), which may be stored as numbers or as (J, N)."""
    turned = arrays[key].shape != shape and arrays[key].shape == shape[::-1]
    stored = {key: arrays[key].T} if turned else arrays
    return _numbers(path, stored, key, shape) > 0


def _length(
    path: Path, arrays: Arrays, protocol: Protocol, joints: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    people = len(joints)
    if protocol is PCKH:
        flat = arrays["headbox"].shape == (people, 4)
        boxes = _numbers(path, arrays, "headbox", (people, 4) if flat else (people, 2, 2))
        return mpii_head_size(boxes.reshape(people, 4))
    if protocol is FLIC_PCK:
        extent = _numbers(path, arrays, "torso_wh", (people, 2))
        return box_diagonal(np.hstack([np.zeros_like(extent), extent]))
    assert isinstance(protocol.reference, tuple)
    return joint_distance(joints, protocol.reference)


def _numbers(
    path: Path, arrays: Arrays, key: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    array = arrays[key]
    if array.shape != shape:
        raise InputError(f"reference: {key} in {path} must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise InputError(f"reference: {key} in {path} must be real numbers, got {array.dtype}")
    return array.astype(np.float64)
