"""Predictions of others beside their ground truth, in one .npz file, scored as published.

What a file holds tells its benchmark:
    MPII: `gt` (N, 16, 2), `headbox` (N, 2, 2) or (N, 4).
    LSP: `gt_pc` or `gt_oc` (N, 14, 2), person-centric or observer-centric.
    FLIC: `gt` (N, 11, 2), `torso_wh` (N, 2), width and height of the torso box.
and one (N, J, 2) array `pred_NAME` for each predictor. `missing` (N, J) and
`visible` (N, J) are read where there are any; other arrays are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.engine.comparison import Comparison
from softgate_ext.errors import InputError, reason
from softgate_ext.pose.metrics import (
    box_diagonal,
    lsp_torso_length,
    mpii_head_size,
    normalized_distances,
)
from softgate_ext.pose.protocol import FLIC_PCK, LSP_PCK, PCKH, Protocol
from softgate_ext.pose.skeleton import LSP

PREFIX = "pred_"
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Truth:
    """The ground truth of one file.

    Attributes:
        protocol: Rules of its benchmark.
        joints: (N, J, 2) pixels.
        labelled: (N, J) bool, joints that count.
        length: (N,) reference lengths, pixels.
        visible: (N, J) bool or None.
        left_out: People whose reference length is not known.
        sides: Whose left and right, where the file says it.
    """

    protocol: Protocol
    joints: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    length: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_] | None
    left_out: int
    sides: str | None = None


SIDES = {"gt_pc": "person-centric", "gt_oc": "observer-centric"}


def compare(path: Path) -> Comparison:
    """Scores every `pred_` array of a file.

    Raises:
        InputError: The file is missing, damaged, of no known form, or an array does not fit.
    """
    arrays = _read(path)
    truth = _truth(path, arrays)
    scores = {}
    for key in arrays:
        if key.startswith(PREFIX):
            predicted = _numbers(path, arrays, key, truth.joints.shape)
            distances = normalized_distances(predicted, truth.joints, truth.labelled, truth.length)
            scores[key.removeprefix(PREFIX)] = truth.protocol.score(distances, truth.visible)
    if not scores:
        raise InputError(f"reference: {path} must hold arrays named {PREFIX}NAME, got none")
    people = len(truth.joints) - truth.left_out
    about = {"reference": str(path)} | ({"labels": truth.sides} if truth.sides else {})
    notes = (f"left and right: {truth.sides}",) if truth.sides else ()
    return Comparison(truth.protocol, people, truth.left_out, scores, about, notes)


def _read(path: Path) -> Arrays:
    """The arrays of the file that matter; others may be of any type, even pickled objects."""
    wanted = ("gt", "gt_pc", "gt_oc", "headbox", "torso_wh", "missing", "visible")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return {k: file[k] for k in file.files if k in wanted or k.startswith(PREFIX)}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen types for damaged files
        raise InputError(
            f"reference: cannot read {path} ({reason(error)}); give an .npz file of plain arrays"
        ) from None


def _truth(path: Path, arrays: Arrays) -> Truth:
    if "headbox" in arrays:
        protocol, name = PCKH, "gt"
    elif "torso_wh" in arrays:
        protocol, name = FLIC_PCK, "gt"
    else:
        named = [key for key in ("gt_pc", "gt_oc", "gt") if key in arrays]
        protocol, name = LSP_PCK, named[0] if named else "gt_pc"
    unknown = protocol is LSP_PCK and name == "gt" and arrays[name].shape[1:2] != (len(LSP),)
    if name not in arrays or unknown:
        raise InputError(
            f"reference: {path} must hold gt and headbox (MPII), gt_pc (LSP), or gt and torso_wh "
            f"(FLIC), got {', '.join(arrays) or 'none of them'}"
        )
    people = arrays[name].shape[:1]
    joints = _numbers(path, arrays, name, (*people, len(protocol.skeleton), 2))
    labelled = np.isfinite(joints).all(-1)
    if "missing" in arrays:
        labelled &= ~(_numbers(path, arrays, "missing", joints.shape[:2]) > 0)
    elif protocol is PCKH:
        labelled &= (joints != 0).any(-1)  # MPII's flat files put missing joints at (0, 0)
    visible, flags = None, arrays.get("visible")
    if flags is not None and flags.shape == joints.shape[:2] and flags.dtype.kind in "fiub":
        visible = flags > 0
    length = _length(path, arrays, protocol, joints)
    known = np.isfinite(length)
    if not known.any():
        raise InputError(f"reference: {path} has nobody whose {protocol.unit} is known")
    labelled &= known[:, None]
    left_out = int((~known).sum())
    return Truth(protocol, joints, labelled, length, visible, left_out, SIDES.get(name))


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
    return lsp_torso_length(joints)


def _numbers(
    path: Path, arrays: Arrays, key: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    array = arrays[key]
    if array.shape != shape:
        raise InputError(f"reference: {key} in {path} must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise InputError(f"reference: {key} in {path} must be real numbers, got {array.dtype}")
    return array.astype(np.float64)
