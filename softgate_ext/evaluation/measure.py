"""Figures of joints on a pose set, by the metric that belongs to it or that a user names."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.calibration import Calibration
from softgate_ext.pose.metrics import (
    Floats,
    box_diagonal,
    box_sides,
    joint_distance,
    mean_pose,
    mpii_head_size,
    normalized_distances,
    place_pose,
)
from softgate_ext.pose.oks import Annotated, Detected, average_precision
from softgate_ext.pose.protocol import Protocol, Score, torso_of
from softgate_ext.pose.protocols import FLIC_PCK, PCKH, box_pck, named_protocol, torso_pck
from softgate_ext.pose.sides import observer_order, take_joints

BODY = 0.53
"""Area of a person over that of the box, where no area is annotated: CrowdPose's rule, which
xtcocotools and mmpose have."""


def protocol_for(people: PoseSet, metric: str = "auto", sigmas: Sequence[float] = ()) -> Protocol:
    """The rules by which `people` are measured.

    Args:
        people: Whom to measure.
        metric: As in `named_protocol`; or `auto`, the rules of the benchmark that they belong to.
            MPII without head boxes, FLIC without torso boxes, and joints of no benchmark are
            measured as LSP is, and where nobody's torso is labelled by the box.
        sigmas: As in `named_protocol`.

    Raises:
        InputError: The joints do not allow it.
    """
    if metric != "auto" or sigmas:
        return named_protocol(metric, people.skeleton, sigmas, people.sigmas)
    for protocol in (PCKH, FLIC_PCK):
        ours = people.skeleton == protocol.skeleton
        if ours and np.isfinite(reference_lengths(people, protocol)).any():
            return protocol
    ends = torso_of(people.skeleton)
    if ends is not None and people.labelled[:, ends].all(1).any():
        return torso_pck(people.skeleton)
    return box_pck(people.skeleton)


def reference_lengths(people: PoseSet, protocol: Protocol) -> Floats:
    """(N,) pixels, the unit of `protocol`; NaN where unknown."""
    reference = protocol.reference
    if isinstance(reference, tuple):
        known = people.labelled[:, reference].all(1)
        return np.where(known, joint_distance(people.joints, reference), np.nan)
    if reference == "boxes":
        return _above_zero(box_sides(people.person_boxes).max(1))
    if reference == "areas":
        corners = people.person_boxes
        return np.sqrt(areas_of(people.areas, corners[:, 2:] - corners[:, :2]))
    boxes = getattr(people, reference)
    if boxes is None:
        return np.full(len(people), np.nan)
    return mpii_head_size(boxes) if reference == "head_boxes" else box_diagonal(boxes)


def areas_of(areas: npt.NDArray[np.floating] | None, extents: Floats) -> Floats:
    """(N,) pixels, as annotated where that is above 0, else `BODY` of the box, NaN where that is not.

    Args:
        areas: (N,) as annotated.
        extents: (N, 2) width and height of the boxes.
    """
    of_box = _above_zero(BODY * extents.prod(1))
    if areas is None:
        return of_box
    return np.where(areas > 0, areas.astype(np.float64), of_box)


def _above_zero(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def observer_centric(people: PoseSet) -> PoseSet:
    """The same people with left and right by the picture, as `observer_order` has them.

    Raises:
        InputError: The joints have no left and right.
    """
    order = observer_order(people.joints, people.skeleton, people.labelled)
    by_joint = ("joints", "labelled", "visible")
    moved = {name: take_joints(getattr(people, name), order) for name in by_joint}
    return dataclasses.replace(people, **moved)  # type: ignore[arg-type]


def score(
    joints: np.ndarray,
    people: PoseSet,
    protocol: Protocol,
    scores: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    counted: tuple[Annotated, Detected] | None = None,
) -> Score:
    """All figures of joints (N, J, 2) in source pixels; NaN is a joint that was not found.

    Args:
        joints: The joints.
        people: The truth.
        protocol: The rules.
        scores: (N, J), how sure the joints are; for OKS a person's is their mean, which top-down
            methods multiply by that of the person's box, here 1. None for all alike.
        lengths: (N,), the `reference_lengths`, where they follow from more than the labels here.
        counted: By what AP and AR go where it is more than these people and the joints of each: all
            that is annotated in their pictures, and all that was found there.

    Raises:
        InputError: Nobody's reference length is known, or none of their joints.
    """
    if lengths is None:
        lengths = reference_lengths(people, protocol)
    known = np.isfinite(lengths)
    labelled = people.labelled & known[:, None]
    if not labelled.any():
        names = [people.skeleton.joints[j] for j in np.flatnonzero(people.labelled.any(0))]
        raise InputError(
            f"data: no sample of {people.name} has both the {protocol.unit}, which is the unit of the "
            "metric, and another labelled joint; takes data with such samples, or another metric (the "
            f"labelled joints are {', '.join(names) or 'none'})"
        )
    # A dataset without a word on occlusion calls every joint visible.
    told = (labelled & ~people.visible).any()
    visible = people.visible if told else None
    result = protocol.score_joints(joints, people.joints, labelled, lengths, visible)
    if protocol.sigmas is None:
        return result
    if counted is None:
        sure = np.ones(len(people)) if scores is None else scores.mean(1)
        some = people.subset(np.flatnonzero(known))
        counted = _each_by_its_box(joints[known], sure[known], some, lengths[known] ** 2)
    precision = average_precision(*counted, protocol.sigmas)
    return dataclasses.replace(result, precision=precision)


def _each_by_its_box(
    joints: Floats, scores: Floats, people: PoseSet, areas: Floats
) -> tuple[Annotated, Detected]:
    """People of known areas, for each of whom joints were looked for in the box that is given."""
    names = [str(path) for path in people.image_paths]
    images = np.unique(names, return_inverse=True)[1].astype(np.int64)
    corners = np.nan_to_num(people.person_boxes)
    none = np.zeros(len(people), np.int64)
    truth = Annotated(
        images,
        people.joints.astype(np.float64),
        people.labelled,
        np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]),
        areas,
        np.logical_not(people.labelled.any(1)),
        none > 0,
        none,
    )
    return truth, Detected(images, joints, scores, none)


def calibrated(
    joints: np.ndarray, scores: np.ndarray, people: PoseSet, protocol: Protocol
) -> Calibration:
    """From the scores of joints to the probability that they are right by `protocol`.

    Args:
        joints, people, protocol: As in `score`.
        scores: (N, J) peaks of the heatmaps.
    """
    labelled, right = right_joints(joints, people, protocol)
    return Calibration.fitted(scores[labelled], right[labelled])


def right_joints(
    joints: np.ndarray, people: PoseSet, protocol: Protocol
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(N, J) each: which joints count, and which are right; arguments as in `score`."""
    lengths = reference_lengths(people, protocol)
    labelled = people.labelled & np.isfinite(lengths)[:, None]
    distances = normalized_distances(joints, people.joints, labelled, lengths)
    return labelled, protocol.right(distances)


def constant_pose(train: PoseSet, people: PoseSet) -> Floats:
    """(N, J, 2), the mean pose of `train`, put into the crops of `people`; NaN for joints that
    nobody of `train` has labelled.
    """
    pose = mean_pose(train.joints, train.labelled, train.centers, train.sizes)
    return place_pose(pose, people.centers, people.sizes)


def figures_to_json(result: Score) -> dict[str, Any]:
    """Percentages: the main one, both means, each joint's (None where nobody has it labelled), and
    what else the metric gives."""

    def short(value: float) -> float | None:
        return None if np.isnan(value) else round(float(value), 4)

    joints = zip(result.protocol.skeleton.joints, map(short, result.pck.per_joint), strict=True)
    return {
        "metric": result.protocol.metric,
        "main": short(result.main),
        "mean": short(result.pck.mean),
        "pooled": short(result.pck.pooled),
        **{name: short(value) for name, value in result.precision.items()},
        "per_joint": dict(joints),
    }
