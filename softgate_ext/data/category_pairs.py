"""What a category in COCO's form says of left and right, in the words of several tools."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softgate_ext.data.entries import ReadingNotes
from softgate_ext.errors import InputError
from softgate_ext.pose.mirror import pair_joints
from softgate_ext.pose.skeleton import Skeleton

_KEYS = ("flip_pairs", "keypoint_flip_map", "flip_idx", "swap", "keypoint_info")


def told_pairs(
    skeleton: Skeleton, categories: Sequence[Mapping[str, Any]], notes: ReadingNotes
) -> Skeleton:
    """The skeleton with the flip pairs that its categories carry: those of the first that has any.

    They are `flip_pairs` (0-based indices or names) and `keypoint_flip_map` (Detectron2's pairs of
    names), `flip_idx` (the order of the joints in the mirror image), `swap` (a name for each joint,
    or by name) and `keypoint_info` (MMPose's, with a `swap` each). A joint that they pair with
    itself goes by its name.

    The names alone count where the pairs cannot be right: they are not joints, or by their indices
    a left joint changes places with one that is not right, as happens where they count from 1.

    Args:
        skeleton: The joints, paired by their names.
        categories: As in the file.
        notes: Takes a sentence where the names alone count.
    """
    given = ((key, one) for one in categories for key in _KEYS if one.get(key))
    key, category = next(given, ("", {}))
    if not key:
        return skeleton
    try:
        pairs = [pair for pair in _pairs(key, category) if len(set(pair)) > 1]
        told = pair_joints(skeleton, pairs, key)
    except InputError as error:
        notes.say(f"left and right are those of the names, since {error}")
        return skeleton
    except (LookupError, TypeError, ValueError, AttributeError):
        notes.say(f"left and right are those of the names, since {key} is damaged")
        return skeleton
    counted = any(isinstance(joint, int) for pair in pairs for joint in pair)
    for a, b in told.flip_pairs if counted else ():
        if skeleton.names[a].side != skeleton.names[b].mirrored.side:
            joined = f"{key} joins {skeleton.joints[a]} with {skeleton.joints[b]}"
            notes.say(f"left and right are those of the names, since {joined}")
            return skeleton
    return told


def _pairs(key: str, category: Mapping[str, Any]) -> Iterator[Any]:
    """Pairs of names or indices; there may be identities and either order."""
    value = category[key]
    if key in ("flip_pairs", "keypoint_flip_map"):
        yield from value.items() if isinstance(value, dict) else value
        return
    if key == "keypoint_info":
        infos = value.values() if isinstance(value, dict) else value
        value = {info["name"]: info.get("swap") for info in infos}
    if isinstance(value, dict):
        yield from ((name, other) for name, other in value.items() if other)
    elif key == "flip_idx":
        yield from enumerate(value)
    else:
        joints = category["keypoints"]
        yield from ((a, b) for a, b in zip(joints, value, strict=True) if b)
