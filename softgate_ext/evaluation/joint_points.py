"""Joints of one entry of a file of predictions, in the shapes in which programs write them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import LARGEST, OddEntry, numbers
from softgate_ext.evaluation.joint_keys import NAMES
from softgate_ext.files.counted import counted
from softgate_ext.pose.skeleton import Skeleton

Floats = npt.NDArray[np.float64]
_TITLES = ("name", "part", "joint", "keypoint", "label", "id", "index")  # of one joint


def spelled_skeleton(names: tuple[str, ...]) -> Skeleton:
    """The joints of a file, found by any spelling of their names."""
    lower = tuple(name.lower() for name in names)
    joints = lower if len(set(lower)) == len(names) else names
    return Skeleton("predictions", joints, (), (), written=names)


def names_beside(fields: Mapping[str, Any], skeleton: Skeleton) -> list[str] | None:
    """Names of joints that lie beside the joints: `joint_names`, or under any key a list that names
    exactly those of `skeleton`."""
    given = fields.get("joint_names")
    if given is not None:
        return given if _are_texts(given) else None
    for key, value in fields.items():
        if key in NAMES or not _are_texts(value):
            continue
        if not len(value) == len(set(value)) == len(skeleton):
            continue
        if None not in skeleton.places_in(spelled_skeleton(tuple(value))):
            return value
    return None


def by_name(person: Any, skeleton: Skeleton) -> Any:
    """The person with joints by their names, where these are in each joint or in a list beside them.

    Joints that have numbers in place of names are put in the order of these.

    Args:
        person: Joints, or an object with them.
        skeleton: The joints of the dataset.
    """
    fields = {NAMES[0]: person} if isinstance(person, list) else person
    if not isinstance(fields, dict):
        return person
    key = next((name for name in NAMES if fields.get(name) is not None), None)
    given = fields.get(key) if key is not None else None
    if not isinstance(given, list):
        return person
    titles: list[Any] | None = names_beside(fields, skeleton)
    joints = given
    if titles is None:
        titles = _titles(given)
    elif len(given) in (2 * len(titles), 3 * len(titles)) and not any(map(_holds_more, given)):
        width = len(given) // len(titles)
        joints = [given[start : start + width] for start in range(0, len(given), width)]
    if titles is None or len(titles) != len(joints) or len(set(titles)) < len(titles):
        return person
    found = dict(zip(titles, joints, strict=True))
    if all(isinstance(title, int) for title in titles):
        return {**fields, key: [found[title] for title in sorted(found)]}
    return {**fields, key: found}


def _titles(joints: list[Any]) -> list[Any] | None:
    """What each of the joints is called, texts or the numbers from 0 or 1 on."""
    for key in _TITLES if all(isinstance(joint, dict) for joint in joints) else ():
        titles = [joint.get(key) for joint in joints]
        if titles and _are_texts(titles):
            return titles
        counts = [title for title in titles if type(title) is int]
        if sorted(counts) in (list(range(len(joints))), list(range(1, len(joints) + 1))):
            return titles
    return None


def _are_texts(titles: Any) -> bool:
    return isinstance(titles, list) and all(isinstance(title, str) for title in titles)


def points_of(fields: Mapping[str, Any], names: Iterable[str] | None, count: int) -> Floats:
    """(J, 3) x, y and score of one person, NaN where there is none.

    Joints are flat numbers, pairs or triples, or by name; `null` is a joint that was not found.
    """
    given = fields[NAMES[0]]
    plain = numbers(given, 3 * count)
    if plain is None:
        if isinstance(given, dict) and names is not None:
            given = [given.get(name) for name in names]
        if not isinstance(given, list):
            raise OddEntry("whose joints are not a list")
        if len(given) in (2 * count, 3 * count) and not any(map(_holds_more, given)):
            width = len(given) // count
            given = [given[start : start + width] for start in range(0, len(given), width)]
        if len(given) != count:
            raise OddEntry(f"with another number of joints than {count}")
        plain = np.array([_point(joint) for joint in given], np.float64)
    found = plain.reshape(count, 3)
    if fields.get("scores") is not None:
        scores = numbers(fields["scores"], count)
        if scores is None:
            raise OddEntry(f"whose scores are not {counted(count, 'finite number[s]')}")
        found[:, 2] = scores
    return found


def _holds_more(joint: Any) -> bool:
    return isinstance(joint, list | dict)


def _point(joint: Any) -> tuple[float, float, float]:
    if joint is None:
        return math.nan, math.nan, math.nan
    if isinstance(joint, dict):
        joint = _numbers_of(joint)
    if not isinstance(joint, list) or len(joint) not in (2, 3):
        raise OddEntry("with joints that are not x, y or x, y, score")
    x, y, score = (_coordinate(value) for value in (*joint, None)[:3])
    return x, y, score


def _numbers_of(joint: Mapping[str, Any]) -> list[Any]:
    """x, y and score of an object, whose keys may be capitals, and x and y in a `position`."""
    own = {str(key).lower(): value for key, value in joint.items()}
    if isinstance(own.get("position"), dict):
        own |= {str(key).lower(): value for key, value in own["position"].items()}
    if not {"x", "y"} <= own.keys():
        raise OddEntry("with joints that are not x, y or x, y, score")
    return [own["x"], own["y"], own.get("score", own.get("confidence"))]


def _coordinate(value: Any) -> float:
    if value is None:
        return math.nan
    usual = isinstance(value, int | float) and not isinstance(value, bool)
    if not usual or abs(value) >= LARGEST:
        raise OddEntry("with joints that are not finite numbers")
    return float(value)


def without_flags(joints: Floats) -> Floats:
    """Without the flags 0, 1, 2 of an annotation, of which 0 at (0, 0) is a joint that is not there;
    programs that write scores in their place are left alone."""
    if not np.isin(joints[:, 2], (0, 1, 2)).all():
        return joints
    there = joints.any(1, keepdims=True)
    return np.where(there, [1, 1, math.nan] * joints, math.nan)
