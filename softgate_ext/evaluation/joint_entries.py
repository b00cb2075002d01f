"""Reading of a file's entries one by one: an entry that cannot be read is left out, with a note."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import OddEntry, ReadingNotes, is_crowd
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_contents import Contents
from softgate_ext.evaluation.joint_identity import Identity, category_of, identity_of, only_known
from softgate_ext.evaluation.joint_keys import NAMES
from softgate_ext.evaluation.joint_points import by_name, points_of, without_flags
from softgate_ext.evaluation.joint_unread import columns_of, named_by

TAKES = 'takes a list of {"joints": [[x, y], ...]}, one for each person'

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One person of a file, before reading.

    Attributes:
        which: the name of the entry in messages.
        person: the joints, or an object with the joints and the identity.
        whole: the fields of the image in which the person is listed; None for a list of people.
        category: the name of its category, if the file has names of categories.
        flagged: whether the third number of a joint is COCO's flag and not a score.
        lone: whether only the name of the file identifies the image.
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
        entries: all entries.
        joints: the names of the joints, if the file states them outside of the entries.
        origin: the coordinate of the first pixel, if the file states it.
        notes: gets notes on what is left out.
    """

    entries: list[Entry] = field(default_factory=list)
    joints: tuple[str, ...] | None = None
    origin: Any = None
    notes: ReadingNotes = field(default_factory=ReadingNotes)


def contents_of(listing: Listing, people: PoseSet, path: Path) -> Contents:
    """The joints and identities of all entries. Entries that cannot be read get no joints.

    Args:
        listing: the entries of the file.
        people: the samples, with their joints and categories.
        path: the file, for messages.

    Raises:
        InputError: there is no entry that can be read; or the entries name no image, and the file is
            not named after an image of the dataset.
    """
    entries = [
        replace(entry, person=by_name(entry.person, people.skeleton)) for entry in listing.entries
    ]
    notes = listing.notes
    names = _names(entries) or listing.joints
    count = len(people.skeleton if names is None else names)
    joints = np.full((len(entries), count, 3), math.nan)
    who: list[Identity | None] = []
    for row, entry in enumerate(entries):
        try:
            fields = _fields(entry, people)
            found = points_of(fields, names, count)
            who.append(identity_of(fields, entry.whole))
            joints[row] = without_flags(found) if entry.flagged else found
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
    """The fields of an entry, with its joints under the first of `NAMES`."""
    person = entry.person
    if isinstance(person, list):
        return {NAMES[0]: person}
    if not isinstance(person, dict):
        raise OddEntry("that [is neither a list nor an object|are neither lists nor objects]")
    if is_crowd(person):
        raise OddEntry("of [a crowd|crowds]")
    if isinstance(person.get("score"), list):  # scores of joints
        person = {"scores": person["score"], **person, "score": None}
    kind = category_of(person.get("category_id"), entry.category, people.categories)
    given = next((person[name] for name in NAMES if person.get(name) is not None), None)
    if given is None:
        raise OddEntry("without joints")
    return {**person, NAMES[0]: given, "category_id": kind}


def _names(entries: Sequence[Entry]) -> tuple[str, ...] | None:
    """The names of all joints in the entries; None if most entries have no names."""
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


def _of_the_picture_that_the_file_is_called_as(
    path: Path, who: Iterable[Identity | None], people: PoseSet, notes: ReadingNotes
) -> list[Identity | None]:
    if path.stem not in {image.stem for image in people.image_paths}:
        raise InputError(
            f"predictions: {path} is a list of the people of one picture, so the file must have the name "
            f"of the picture, but {people.name} has no picture {path.stem}; takes one file of all "
            "pictures, where each entry has the name of its picture as image"
        )
    notes.say(
        f"the entries are taken to be of the picture {path.stem}, because the file has its name; "
        "files of other pictures are not read"
    )
    return [None if one is None else replace(one, name=path.stem) for one in who]
