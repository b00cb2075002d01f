"""Entries of a file of predictions, read one by one: an odd one costs itself, and is told."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import LARGEST, OddEntry, ReadingNotes, is_crowd, numbers
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_contents import Contents
from softgate_ext.evaluation.joint_identity import Identity, category_of, identity_of, only_known
from softgate_ext.evaluation.joint_keys import NAMES
from softgate_ext.evaluation.joint_unread import columns_of, named_by
from softgate_ext.files.counted import counted

TAKES = 'takes a list of {"joints": [[x, y], ...]}, one a person'

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One person of a file, unread.

    Attributes:
        which: What messages call it.
        person: Its joints, or an object with them and with what it says of whom they are.
        whole: What the file says of the picture in which the person is listed.
        category: Name of its category, where the file has names of these.
        flagged: Whether the third number of a joint is COCO's flag rather than a score.
        lone: Whether the picture is told by the name of the file alone.
    """

    which: str
    person: Any
    whole: Mapping[str, Any] | None = None
    category: str | None = None
    flagged: bool = False
    lone: bool = False


@dataclass
class Listing:
    """The entries of a file.

    Attributes:
        entries: All of them.
        joints: Names of the joints, where the file has them apart from the entries.
        origin: Coordinate of the first pixel, where the file says it.
        notes: Takes what is passed over.
    """

    entries: list[Entry] = field(default_factory=list)
    joints: tuple[str, ...] | None = None
    origin: Any = None
    notes: ReadingNotes = field(default_factory=ReadingNotes)


def contents_of(listing: Listing, people: PoseSet, path: Path) -> Contents:
    """The joints of all entries, and whose they are; those of odd ones are not found.

    Args:
        listing: What the file holds.
        people: Whose joints, and of which categories, are looked for.
        path: The file, for messages.

    Raises:
        InputError: There is no entry, or none that can be read; or the entries name no picture, and
            the file, which then should be called as one of the dataset's, is not.
    """
    entries, notes = listing.entries, listing.notes
    names = _names(entries) or listing.joints
    count = len(people.skeleton if names is None else names)
    joints = np.full((len(entries), count, 3), math.nan)
    who: list[Identity | None] = []
    for row, entry in enumerate(entries):
        try:
            fields = _fields(entry, people)
            found = _points(fields, names, count)
            who.append(identity_of(fields, entry.whole))
            joints[row] = _without_flags(found) if entry.flagged else found
        except OddEntry as odd:
            who.append(None)
            notes.count(f"entr[y|ies] {odd} [is|are] left out", entry.which)
    unread = columns_of([{**(one.whole or {}), **_said(one.person)} for one in entries])
    who, said = named_by(path, who, unread, people)
    for sentence in said:
        notes.say(sentence)
    who = only_known(who, [entry.which for entry in entries], notes)
    if not any(who):
        lines = "; ".join(notes.lines())
        fault = f"holds no entry that can be read ({lines})" if lines else "holds no entries"
        raise InputError(f"predictions: {path} {fault}; {TAKES}")
    if all(entry.lone for entry in entries) and not any(one.known for one in who if one):
        who = _of_the_picture_that_the_file_is_called_as(path, who, people, notes)
    joints[..., 2] = np.where(np.isnan(joints[..., 2]), 1.0, joints[..., 2])
    arrays = {"predictions": joints}
    return Contents(arrays, listing.origin, names, tuple(who), True, notes.lines(), unread)


def _said(person: Any) -> Mapping[str, Any]:
    return person if isinstance(person, dict) else {}


def _fields(entry: Entry, people: PoseSet) -> Mapping[str, Any]:
    """What an entry says, its joints by the first of `NAMES`."""
    person = entry.person
    if isinstance(person, list):
        return {NAMES[0]: person}
    if not isinstance(person, dict):
        raise OddEntry("that [is neither a list nor an object|are neither lists nor objects]")
    if is_crowd(person):
        raise OddEntry("of [a crowd|crowds]")
    kind = category_of(person.get("category_id"), entry.category, people.categories)
    given = next((person[name] for name in NAMES if person.get(name) is not None), None)
    if given is None:
        raise OddEntry("without joints")
    return {**person, NAMES[0]: given, "category_id": kind}


def _names(entries: Sequence[Entry]) -> tuple[str, ...] | None:
    """Names of the joints that anybody has, unless most have none."""
    given = [
        entry.person.get(name)
        for entry in entries
        if isinstance(entry.person, dict)
        for name in NAMES
    ]
    named = [joints for joints in given if isinstance(joints, dict)]
    if 2 * len(named) < len(entries):
        return None
    return tuple(dict.fromkeys(name for joints in named for name in joints)) or None


def _points(fields: Mapping[str, Any], names: Iterable[str] | None, count: int) -> Floats:
    """(J, 3) x, y and score of one person, NaN where there is none.

    Joints are flat numbers, pairs or triples, or by name; `null` is a joint that was not found.
    """
    given = fields[NAMES[0]]
    plain = numbers(given, 3 * count)
    if plain is None:
        if isinstance(given, dict) and names is not None:
            given = [given.get(name) for name in names]
        if not isinstance(given, list):
            raise OddEntry("whose joints are no list")
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
        joint = [joint.get(name) for name in ("x", "y", "score")]
    if not isinstance(joint, list) or len(joint) not in (2, 3):
        raise OddEntry("with joints that are not x, y or x, y, score")
    x, y, score = (_coordinate(value) for value in (*joint, None)[:3])
    return x, y, score


def _coordinate(value: Any) -> float:
    if value is None:
        return math.nan
    usual = isinstance(value, int | float) and not isinstance(value, bool)
    if not usual or abs(value) >= LARGEST:
        raise OddEntry("with joints that are no finite numbers")
    return float(value)


def _without_flags(joints: Floats) -> Floats:
    """Without the flags 0, 1, 2 of an annotation, of which 0 at (0, 0) is a joint that is not there;
    programs that write scores in their place are left alone."""
    if not np.isin(joints[:, 2], (0, 1, 2)).all():
        return joints
    there = joints.any(1, keepdims=True)
    return np.where(there, [1, 1, math.nan] * joints, math.nan)


def _of_the_picture_that_the_file_is_called_as(
    path: Path, who: Iterable[Identity | None], people: PoseSet, notes: ReadingNotes
) -> list[Identity | None]:
    if path.stem not in {image.stem for image in people.image_paths}:
        raise InputError(
            f"predictions: {path} is a list of the people of one picture, which only the name of the "
            f"file can tell, and {people.name} has no picture {path.stem}; takes one file of all "
            "pictures, each entry with the name of its picture as image"
        )
    notes.say(
        f"the entries are taken to be of the picture {path.stem}, as the file is called; those of "
        "other pictures cannot be read from files of their own"
    )
    return [None if one is None else replace(one, name=path.stem) for one in who]
