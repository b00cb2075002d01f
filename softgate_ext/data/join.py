"""Joining of pose sets, and conversion to other skeletons, by the names of the joints."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import identity
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton, join_skeletons


def select_joints(
    values: npt.NDArray[Any], source: Skeleton, target: Skeleton
) -> npt.NDArray[np.float64]:
    """Values of joints, (N, J, ...) of `source`, as (N, K, ...) of `target`; NaN for missing joints."""
    result = np.full((len(values), len(target), *values.shape[2:]), np.nan)
    for j, place in enumerate(target.places_in(source)):
        if place is not None:
            result[:, j] = values[:, place]
    return result


def absent_joints(people: Skeleton, skeleton: Skeleton) -> npt.NDArray[np.bool_]:
    """(J,) bool, whether each of the J joints of `people` is missing in `skeleton`."""
    return np.array([place is None for place in people.places_in(skeleton)])


def with_joints_of(people: PoseSet, skeleton: Skeleton) -> PoseSet:
    """The same samples with the same joints; joints that `skeleton` lacks are not labelled.

    Raises:
        InputError: they have no joint in common.
    """
    shared = ~absent_joints(people.skeleton, skeleton)
    if not shared.any():
        raise InputError(
            f"{people.name} has no joint of {skeleton.name}: it has "
            f"{', '.join(people.skeleton.joints)}"
        )
    return dataclasses.replace(
        people, labelled=people.labelled & shared, visible=people.visible & shared
    )


def to_skeleton(people: PoseSet, skeleton: Skeleton) -> PoseSet:
    """The same samples with the joints of `skeleton`; joints that they lack are not labelled.

    Raises:
        InputError: they have no joint in common.
    """
    if people.skeleton == skeleton:
        return people
    with_joints_of(people, skeleton)

    def spread(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.nan_to_num(select_joints(values, people.skeleton, skeleton), nan=0.0)

    return dataclasses.replace(
        people,
        skeleton=skeleton,
        joints=spread(people.joints).astype(np.float32),
        labelled=spread(people.labelled) > 0,
        visible=spread(people.visible) > 0,
        sigmas={
            skeleton.joints[place]: people.sigmas[joint]
            for joint, place in zip(
                people.skeleton.joints, people.skeleton.places_in(skeleton), strict=True
            )
            if place is not None and joint in people.sigmas
        },
    )


def join(sets: Sequence[PoseSet]) -> PoseSet:
    """All samples one after another, with the union of the joints.

    Joints with the same name, in any spelling, are one joint. LSP's "neck", which is lower, and MPII's
    "upper_neck" stay two joints, and each is trained on the samples that have it.

    Raises:
        InputError: there are no sets.
    """
    if not sets:
        raise InputError("sets must hold at least one pose set, got none")
    if len(sets) == 1:
        return sets[0]
    skeleton = join_skeletons([people.skeleton for people in sets])
    parts = [to_skeleton(people, skeleton) for people in sets]

    def gather(field: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, field) for part in parts])

    def measures(field: str, *shape: int) -> npt.NDArray[np.float32] | None:
        given = [getattr(part, field) for part in parts]
        if all(value is None for value in given):
            return None
        return np.concatenate(
            [
                np.full((len(part), *shape), np.nan, np.float32) if value is None else value
                for part, value in zip(parts, given, strict=True)
            ]
        )

    return PoseSet(
        name="+".join(part.name for part in parts),
        skeleton=skeleton,
        image_paths=[path for part in parts for path in part.image_paths],
        joints=gather("joints"),
        labelled=gather("labelled"),
        visible=gather("visible"),
        centers=gather("centers"),
        sizes=gather("sizes"),
        head_boxes=measures("head_boxes", 4),
        torso_boxes=measures("torso_boxes", 4),
        boxes=measures("boxes", 4),
        areas=measures("areas"),
        ids=_ids(parts),
        stated_sizes=measures("stated_sizes", 2),
        persons=_persons(parts),
        sigmas={joint: sigma for part in parts for joint, sigma in part.sigmas.items()},
        categories=parts[0].categories
        if all(part.categories == parts[0].categories for part in parts)
        else {},
        notes=tuple(f"{part.name}: {note}" for part in parts for note in part.notes),
    )


def _ids(parts: Sequence[PoseSet]) -> npt.NDArray[np.object_] | None:
    """The ids of images and annotations. A kind of id is dropped if two sets use an id differently.

    This happens if each file counts its annotations from 1.
    """
    if any(part.ids is None for part in parts):
        return None
    ids = np.concatenate([part.ids for part in parts if part.ids is not None])
    images = [path for part in parts for path in part.image_paths]
    people = range(len(images))
    for column, things in zip(ids.T, (images, people), strict=True):
        pairs = {
            (identity(key), thing)
            for key, thing in zip(column, things, strict=True)
            if key is not None
        }
        if len({key for key, _ in pairs}) < len(pairs):
            column[:] = None
    return None if (ids == None).all() else ids  # noqa: E711


def _persons(parts: Sequence[PoseSet]) -> npt.NDArray[np.int64] | None:
    """The positions of images, counted across the sets, and of the people in them."""
    places = []
    start = 0
    for part in parts:
        if part.persons is None:
            return None
        places.append(part.persons + [start, 0])
        start += 1 + int(part.persons[:, 0].max(initial=-1))
    return np.concatenate(places)
