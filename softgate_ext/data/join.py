"""Several datasets as one, by the names of their joints."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton, join_skeletons


def to_skeleton(people: PoseSet, skeleton: Skeleton) -> PoseSet:
    """The same people with the joints of `skeleton`; those they lack are not labelled.

    Raises:
        InputError: They have no joint in common.
    """
    if people.skeleton == skeleton:
        return people
    common = [name for name in skeleton.joints if name in people.skeleton.joints]
    if not common:
        raise InputError(
            f"{people.name} has no joint of {skeleton.name}: it has "
            f"{', '.join(people.skeleton.joints)}"
        )
    source = [people.skeleton.index(name) for name in common]
    target = [skeleton.index(name) for name in common]

    def spread(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        result = np.zeros((len(people), len(skeleton), *values.shape[2:]), values.dtype)
        result[:, target] = values[:, source]
        return result

    return dataclasses.replace(
        people,
        skeleton=skeleton,
        joints=spread(people.joints),
        labelled=spread(people.labelled),
        visible=spread(people.visible),
    )


def join(sets: Sequence[PoseSet]) -> PoseSet:
    """All people one after another, with the union of the joints.

    Joints are the same where their names are: LSP's "neck", which lies lower, and MPII's
    "upper_neck" stay two joints, each trained by the set that has it.

    Raises:
        InputError: There are no sets.
    """
    if not sets:
        raise InputError("sets must hold at least one pose set, got none")
    if len(sets) == 1:
        return sets[0]
    skeleton = join_skeletons([people.skeleton for people in sets])
    parts = [to_skeleton(people, skeleton) for people in sets]

    def gather(field: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, field) for part in parts])

    def boxes(field: str) -> npt.NDArray[np.float32] | None:
        given = [getattr(part, field) for part in parts]
        if all(value is None for value in given):
            return None
        return np.concatenate(
            [
                np.full((len(part), 4), np.nan, np.float32) if value is None else value
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
        head_boxes=boxes("head_boxes"),
        torso_boxes=boxes("torso_boxes"),
        notes=tuple(f"{part.name}: {note}" for part in parts for note in part.notes),
    )
