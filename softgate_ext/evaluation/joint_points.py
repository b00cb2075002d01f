"""Reading of the joints of one entry, in the many forms in which programs write them."""

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
_TITLES = ("name", "part", "joint", "keypoint", "label", "id", "index")  # keys for a joint's name


def spelled_skeleton(names: tuple[str, ...]) -> Skeleton:
    """A skeleton of the joints of a file, whose names can be found in any spelling."""
    lower = tuple(name.lower() for name in names)
    joints = lower if len(set(lower)) == len(names) else names
    return Skeleton("predictions", joints, (), (), written=names)


def names_beside(fields: Mapping[str, Any], skeleton: Skeleton) -> list[str] | None:
    """The names of the joints in an object: `joint_names`, or any list that names all of `skeleton`.

    Returns:
        The names, or None without such a list.
    """
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
    """The person with joints as an object by name, if each joint, or a list beside them, has names.

    If joints have numbers instead of names, they are sorted by number.

    Args:
        person: joints, or an object with joints.
        skeleton: the joints of the dataset.
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
    """The names in each of the joints, or their numbers from 0 or 1 on; None without either."""
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
    """The joints of one person, (J, 3) x, y and score; NaN for a missing joint or score.

    Joints may be flat numbers, pairs, triples, or an object by name. `null` is a missing joint.

    Args:
        fields: the fields of the entry, with its joints under the first of `NAMES`.
        names: the names of the joints, for joints by name.
        count: number of joints J.

    Raises:
        OddEntry: the joints have another form.
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
    """x, y and score of an object. Keys may be in capitals, and x and y may be in a `position`."""
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
    """Joints (J, 3) of an annotation with NaN for its flags 0, 1, 2. A joint 0, 0, 0 is missing.

    If other numbers occur, they are scores, and the joints are not changed.
    """
    if not np.isin(joints[:, 2], (0, 1, 2)).all():
        return joints
    there = joints.any(1, keepdims=True)
    return np.where(there, [1, 1, math.nan] * joints, math.nan)
