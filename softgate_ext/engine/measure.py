"""Figures of joints on a pose set, by the metric that belongs to it."""

from typing import Any

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import (
    PCK,
    Floats,
    box_diagonal,
    mean_pose,
    mpii_head_size,
    normalized_distances,
    place_pose,
    torso_length,
)
from softgate_ext.pose.protocol import FLIC_PCK, PCKH, Protocol, Score, torso_pck
from softgate_ext.pose.skeleton import Skeleton


def protocol_for(people: PoseSet) -> Protocol:
    """The rules of the benchmark that `people` belong to.

    MPII and FLIC without a box to take the unit from, and joints of no benchmark, are measured as
    LSP is.

    Raises:
        InputError: The joints allow neither.
    """
    for protocol, boxes in ((PCKH, people.head_boxes), (FLIC_PCK, people.torso_boxes)):
        if people.skeleton == protocol.skeleton and boxes is not None and np.isfinite(boxes).any():
            return protocol
    return torso_pck(people.skeleton)


def reference_lengths(people: PoseSet) -> Floats:
    """(N,) pixels, the unit of `protocol_for(people)`; NaN where it is not labelled."""
    protocol = protocol_for(people)
    if protocol is PCKH and people.head_boxes is not None:
        return mpii_head_size(people.head_boxes)
    if protocol is FLIC_PCK and people.torso_boxes is not None:
        return box_diagonal(people.torso_boxes)
    ends = [people.skeleton.index(name) for name in ("left_shoulder", "right_hip")]
    known = people.labelled[:, ends].all(1)
    return np.where(known, torso_length(people.joints, people.skeleton), np.nan)


def measurable(people: PoseSet) -> np.ndarray:
    """(N,) bool: whose reference length is known."""
    return np.isfinite(reference_lengths(people))


def score(joints: np.ndarray, people: PoseSet) -> Score:
    """All figures of joints (N, J, 2) in source pixels; NaN is a joint that was not found.

    Raises:
        InputError: Nobody can be measured.
    """
    length = reference_lengths(people)
    known = np.isfinite(length)
    protocol = protocol_for(people)
    if not known.any():
        raise InputError(
            f"data: nobody of {people.name} has the {protocol.unit}, the unit, labelled"
        )
    labelled = people.labelled & known[:, None]
    distances = normalized_distances(joints, people.joints, labelled, length)
    return protocol.score(distances, people.visible)


def measure(joints: np.ndarray, people: PoseSet) -> PCK:
    """The main figure of `score`."""
    return score(joints, people).pck


def measure_mean_pose(train: PoseSet, people: PoseSet) -> PCK:
    """The main figure of the mean pose of `train`, put into the crops of `people`."""
    return measure(constant_pose(train, people), people)


def constant_pose(train: PoseSet, people: PoseSet) -> Floats:
    """(N, J, 2), the mean pose of `train`, put into the crops of `people`."""
    pose = mean_pose(train.joints, train.labelled, train.centers, train.sizes)
    return place_pose(pose, people.centers, people.sizes)


def pck_to_json(result: PCK, skeleton: Skeleton) -> dict[str, Any]:
    """Percentages: both means, and each joint's (None where nobody has it labelled)."""
    values = (None if np.isnan(value) else round(float(value), 4) for value in result.per_joint)
    return {
        "mean": round(result.mean, 4),
        "pooled": round(result.pooled, 4),
        "per_joint": dict(zip(skeleton.joints, values, strict=True)),
    }
