"""The flip pairs that a category in COCO's form may carry, in the notations of several tools."""

from collections.abc import Mapping, Sequence
from typing import Any

from softgate_ext.data.entries import ReadingNotes, numbers
from softgate_ext.errors import InputError
from softgate_ext.pose.mirror import pair_joints
from softgate_ext.pose.skeleton import Skeleton

_TAKES = {
    "flip_pairs": "pairs of joints",
    "keypoint_flip_map": "pairs of joints",
    "flip_idx": "the index of each joint in the mirror image",
    "swap": "pairs of joints, or for each joint the one that it changes places with",
    "keypoint_info": "an entry with name and swap for each joint",
}


def told_pairs(
    skeleton: Skeleton, categories: Sequence[Mapping[str, Any]], notes: ReadingNotes
) -> Skeleton:
    """The skeleton with the flip pairs of the first category that carries any.

    These entries are read: `flip_pairs` and `keypoint_flip_map` (Detectron2), pairs of names or 0-based
    indices; `flip_idx`, the order of the joints in the mirror image; `swap`, pairs, a name for each
    joint, or an object from name to name; and `keypoint_info` (MMPose), with a `swap` for each joint.
    A joint that is paired with itself is paired by its name instead.

    The pairs are ignored if they cannot be right: they name no joints, or their indices exchange a left
    joint with one that is not right, or that is not its partner by name. This happens if indices count
    from 1 or belong to other joints. The names alone decide then.

    Args:
        skeleton: the joints, paired by their names.
        categories: the categories of the file.
        notes: gets a note if the pairs are ignored.
    """
    given = ((key, one[key]) for one in categories for key in _TAKES if one.get(key))
    key, value = next(given, ("", None))
    if not key:
        return skeleton
    try:
        everything = _pairs(key, value, skeleton)
        pairs = [pair for pair in everything if _kept(pair, skeleton) is None]
        told = pair_joints(skeleton, pairs, key)
    except InputError as error:
        notes.say(f"left and right are taken from the names of the joints: {error}")
        return skeleton
    counted = any(isinstance(joint, int) for pair in pairs for joint in pair)
    named = {joint: {*pair} for pair in skeleton.flip_pairs for joint in pair}
    for a, b in told.flip_pairs if counted else ():
        opposite = skeleton.names[a].side == skeleton.names[b].mirrored.side
        if not opposite or any(named.get(joint, {a, b}) != {a, b} for joint in (a, b)):
            joined = f"{key} joins {skeleton.joints[a]} with {skeleton.joints[b]}"
            notes.say(f"left and right are taken from the names of the joints: {joined}")
            return skeleton
    paired = {joint for pair in told.flip_pairs for joint in pair}
    kept = {place for pair in everything if (place := _kept(pair, skeleton)) in paired}
    if kept:
        joints = ", ".join(joint for i, joint in enumerate(skeleton.joints) if i in kept)
        notes.say(f"{key} leaves {joints} in place; they change places, as their names say")
    return told


def _kept(pair: Any, skeleton: Skeleton) -> int | None:
    """The joint that a pair exchanges with itself; None for a pair of two joints, or of none."""
    places = pair if isinstance(pair, list | tuple) and len(pair) == 2 else (None, -1)
    a, b = (skeleton.find(one) if isinstance(one, str) else one for one in places)
    return a if a == b and a in range(len(skeleton)) else None


def _pairs(key: str, value: Any, skeleton: Skeleton) -> list[Any]:
    """The pairs of names or indices in an entry, in any order; a joint may be paired with itself.

    Raises:
        InputError: the value has none of the forms of its key.
    """
    try:
        if key == "flip_idx":
            given = numbers(value, len(skeleton))
            order = [] if given is None else given.tolist()
            if sorted(order) != [*range(len(skeleton))]:
                raise ValueError
            return [(int(other), joint) for joint, other in enumerate(order)]
        if key == "keypoint_info":
            infos = value.values() if isinstance(value, dict) else value
            value = {info["name"]: info.get("swap") for info in infos}
        if isinstance(value, dict):
            return [pair for pair in value.items() if pair[1] not in (None, "")]
        if isinstance(value[0], list | tuple):
            return list(value)
        if key == "swap":
            each = zip(skeleton.joints, value, strict=True)
            return [pair for pair in each if pair[1] not in (None, "")]
    except (LookupError, TypeError, ValueError, AttributeError):
        pass
    raise InputError(f"{key}: got {value!s:.80}; takes {_TAKES[key]}")
