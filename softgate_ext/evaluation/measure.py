"""Figures of joints on a pose set, by the metric that belongs to it."""

import dataclasses
from typing import Any

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import (
    PCK,
    Floats,
    box_diagonal,
    lsp_torso_length,
    mean_pose,
    mpii_head_size,
    normalized_distances,
    place_pose,
)
from softgate_ext.pose.protocol import FLIC_PCK, PCKH, Protocol, Score, torso_pck
from softgate_ext.pose.sides import observer_order, take_joints
from softgate_ext.pose.skeleton import Skeleton


def protocol_for(people: PoseSet) -> Protocol:
    """The rules of the benchmark that `people` belong to.

    MPII without head boxes, FLIC without torso boxes, and joints of no benchmark are measured as
    LSP is.

    Raises:
        InputError: The joints allow neither.
    """
    for protocol, boxes in ((PCKH, people.head_boxes), (FLIC_PCK, people.torso_boxes)):
        if people.skeleton == protocol.skeleton and boxes is not None and np.isfinite(boxes).any():
            return protocol
    return torso_pck(people.skeleton)


def reference_lengths(people: PoseSet, protocol: Protocol | None = None) -> Floats:
    """(N,) pixels, the unit of `protocol`, by default the torso's diagonal; NaN where unknown."""
    if protocol is PCKH and people.head_boxes is not None:
        return mpii_head_size(people.head_boxes)
    if protocol is FLIC_PCK and people.torso_boxes is not None:
        return box_diagonal(people.torso_boxes)
    ends = [people.skeleton.index(name) for name in ("left_shoulder", "right_hip")]
    known = people.labelled[:, ends].all(1)
    return np.where(known, lsp_torso_length(people.joints, people.skeleton), np.nan)


def observer_centric(people: PoseSet) -> PoseSet:
    """The same people with left and right by the picture, as `observer_order` has them.

    Raises:
        InputError: The joints have no left and right.
    """
    order = observer_order(people.joints, people.skeleton, people.labelled)
    by_joint = ("joints", "labelled", "visible")
    moved = {name: take_joints(getattr(people, name), order) for name in by_joint}
    return dataclasses.replace(people, **moved)  # type: ignore[arg-type]


def score(joints: np.ndarray, people: PoseSet, protocol: Protocol) -> Score:
    """All figures of joints (N, J, 2) in source pixels; NaN is a joint that was not found.

    Raises:
        InputError: Nobody's reference length is known.
    """
    length = reference_lengths(people, protocol)
    known = np.isfinite(length)
    if not known.any():
        raise InputError(
            f"data: nobody of {people.name} has the {protocol.unit}, the unit, labelled; takes "
            "people who have"
        )
    labelled = people.labelled & known[:, None]
    distances = normalized_distances(joints, people.joints, labelled, length)
    # A dataset without a word on occlusion calls every joint visible.
    told = (labelled & ~people.visible).any()
    return protocol.score(distances, people.visible if told else None)


def measurable(people: PoseSet) -> np.ndarray:
    """(N,) bool: whom `measure` measures."""
    return np.isfinite(reference_lengths(people))


def measure(joints: np.ndarray, people: PoseSet) -> PCK:
    """PCK@0.2 by the torso's diagonal, by which a training watches people of any dataset.

    Raises:
        InputError: As `score`.
    """
    return score(joints, people, torso_pck(people.skeleton)).pck


def measure_mean_pose(train: PoseSet, people: PoseSet) -> PCK:
    """`measure` of a predictor that ignores the image."""
    return measure(constant_pose(train, people), people)


def constant_pose(train: PoseSet, people: PoseSet) -> Floats:
    """(N, J, 2), the mean pose of `train`, put into the crops of `people`.

    Raises:
        InputError: Nobody of `train` has some joint labelled.
    """
    absent = [
        joint for j, joint in enumerate(train.skeleton.joints) if not train.labelled[:, j].any()
    ]
    if absent:
        raise InputError(
            f"data: nobody of {train.name} has {', '.join(absent)} labelled; takes people of whom "
            "each joint is labelled at least once"
        )
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
