"""Scores of predicted joints on a pose set, by its own metric or by one that a user selects."""

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
"""The area of a person over that of the box, if no area is annotated. This is CrowdPose's rule, which
xtcocotools and mmpose use."""


def protocol_for(people: PoseSet, metric: str = "auto", sigmas: Sequence[float] = ()) -> Protocol:
    """The scoring rules for a pose set.

    Args:
        people: the samples.
        metric: as in `named_protocol`; or `auto` for the rules of the samples' benchmark. MPII without
            head boxes, FLIC without torso boxes and other datasets use the rules of LSP, or the
            person's box if no sample has a labelled torso.
        sigmas: as in `named_protocol`.

    Raises:
        InputError: the joints do not allow this metric.
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
    """The reference lengths (N,) of `protocol`, in pixels; NaN if not known."""
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
    """The areas (N,) of people in square pixels.

    The annotated area is used if it is above 0, else `BODY` times the area of the box, else NaN.

    Args:
        areas: (N,), the annotated areas; None without any.
        extents: (N, 2), width and height of the boxes, in pixels.
    """
    of_box = _above_zero(BODY * extents.prod(1))
    if areas is None:
        return of_box
    return np.where(areas > 0, areas.astype(np.float64), of_box)


def _above_zero(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def observer_centric(people: PoseSet) -> PoseSet:
    """The same samples with observer-centric labels; see `observer_order`.

    Raises:
        InputError: the joints have no left and right.
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
    """All scores of predicted joints.

    Args:
        joints: (N, J, 2), in pixels of the source images; NaN for a joint that was not found.
        people: the ground truth.
        protocol: the rules.
        scores: (N, J), the scores of the joints; None for equal scores. For OKS the score of a person is
            their mean. Top-down methods multiply it by the score of the person's box, which is 1 here.
        lengths: (N,), the reference lengths; None for those of `people`. They are given if they were
            made from more labels than `people` has.
        counted: annotations and predictions for AP and AR, if these are to be computed from all
            annotations and predictions of the images, and not from one prediction per sample.

    Raises:
        InputError: no sample has a known reference length and a labelled joint.
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
    # If all joints are visible, the dataset has no information on occlusion.
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
    """The input of COCO's AP with one prediction per sample."""
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
    """The calibration from the scores of joints to the probability that they are right.

    Args:
        joints, people, protocol: as in `score`.
        scores: (N, J), the peaks of the heatmaps.
    """
    labelled, right = right_joints(joints, people, protocol)
    return Calibration.fitted(scores[labelled], right[labelled])


def right_joints(
    joints: np.ndarray, people: PoseSet, protocol: Protocol
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each joint counts, and whether it is right, both (N, J) bool.

    Args:
        joints, people, protocol: as in `score`.
    """
    lengths = reference_lengths(people, protocol)
    labelled = people.labelled & np.isfinite(lengths)[:, None]
    distances = normalized_distances(joints, people.joints, labelled, lengths)
    return labelled, protocol.right(distances)


def constant_pose(train: PoseSet, people: PoseSet) -> Floats:
    """The mean pose of `train`, placed in the crops of `people`.

    Returns:
        (N, J, 2), in pixels of the source images; NaN for joints that are labelled nowhere in `train`.
    """
    pose = mean_pose(train.joints, train.labelled, train.centers, train.sizes)
    return place_pose(pose, people.centers, people.sizes)


def figures_to_json(result: Score) -> dict[str, Any]:
    """The scores as the log of a training stores them, in percent.

    It has the metric, the main score, both means, those of COCO's evaluation for OKS, and the score of
    each joint; None for a score without labels.
    """

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
