"""`Contents`, the form of every file of predictions after reading, and the readers of array files."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.data.entries import ReadingNotes
from softgate_ext.data.matfile import read_mat, structs
from softgate_ext.data.mpii import AnnotatedPerson
from softgate_ext.data.mpii_submission import read_submission
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError, reason
from softgate_ext.evaluation.hdf5_files import read_hdf5
from softgate_ext.evaluation.joint_identity import Identity, identities_of, only_known, words_of
from softgate_ext.evaluation.joint_keys import NAMES, usual
from softgate_ext.evaluation.joint_points import names_beside
from softgate_ext.evaluation.joint_unread import Columns, named_by
from softgate_ext.files.arrays import npz_arrays
from softgate_ext.files.paths import unusual
from softgate_ext.pose.skeleton import MPII


@dataclass(frozen=True)
class Contents:
    """The contents of a file of predictions.

    Attributes:
        arrays: the arrays by name; one of them holds the joints of all people.
        origin: the coordinate of the first pixel in the file; None if it does not state it.
        joints: the names of the joints in the order of the arrays; None if it does not state them.
        who: the identity of each entry, None for an entry that is left out. If it is empty, or no entry
            has a known identity, entries are matched by their order.
        by_person: whether the file is a list of people, and not a set of arrays.
        notes: notes on what is left out.
        unread: the values of keys that no reader knows.
    """

    arrays: Mapping[str, Any]
    origin: Any = None
    joints: tuple[str, ...] | None = None
    who: tuple[Identity | None, ...] = ()
    by_person: bool = False
    notes: tuple[str, ...] = ()
    unread: Columns = field(default_factory=dict)


def read_arrays(path: Path, people: PoseSet) -> Contents:
    """Reads a .mat, .h5 or .npz file of predictions.

    Args:
        path: the file.
        people: the samples whose joints are searched.

    Raises:
        InputError: the file cannot be read, or has arrays of identities of which none can be read.
    """
    notes = ReadingNotes()
    if what := unusual(path):
        raise InputError(f"predictions: got {path}, which is {what}; takes a file")
    try:
        arrays = usual(_READERS[path.suffix.lower()](path))
        names = arrays.pop("joint_names", None)
        if names is None:
            texts = {k: words_of(v) for k, v in arrays.items() if np.asarray(v).dtype.kind in "US"}
            names = names_beside(texts, people.skeleton)
        joints = None if names is None else tuple(map(str, words_of(names)))
        who = identities_of(arrays, people.categories, notes)
    except InputError:
        raise
    except Exception as error:  # the readers raise a dozen unrelated types for damaged files
        raise InputError(
            f"predictions: cannot read {path} ({reason(error)}); give a complete file"
        ) from None
    pred = np.asarray(arrays.get("pred", ()))
    if len(structs(pred)):
        return _submission(read_submission(pred, path), arrays.get("origin"))
    if who and not any(who):
        raise InputError(
            f"predictions: {path} holds no entry that can be read ({'; '.join(notes.lines())}); takes "
            "names or ids of pictures"
        )
    origin = arrays.pop("origin", None)
    unread = _columns(arrays)
    who = _named(path, who, unread, people, notes)
    return Contents(arrays, origin, joints, who, notes=notes.lines(), unread=unread)


def _columns(arrays: Mapping[str, Any]) -> Columns:
    """The arrays with one text or number per entry."""
    found = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if (
            name not in NAMES
            and array.dtype.kind in "USOiuf"
            and array.size == max(array.shape, default=0)
        ):
            with suppress(ValueError):  # raised for cells with several values
                found[name] = words_of(array)
    return found


def _named(
    path: Path,
    who: tuple[Identity | None, ...],
    unread: Columns,
    people: PoseSet,
    notes: ReadingNotes,
) -> tuple[Identity | None, ...]:
    """The identities with image names from unknown arrays (`named_by`).

    These arrays must be as long as the identities; without identities, as long as the longest array.
    """
    count = len(who) or max(map(len, unread.values()), default=0)
    own = {name: values for name, values in unread.items() if len(values) == count}
    named, said = named_by(path, who or [Identity()] * count, own, people)
    if not said:
        return who
    for sentence in said:
        notes.say(sentence)
    return tuple(only_known(named, [f"number {row + 1}" for row in range(count)], notes))


def _submission(people: Sequence[AnnotatedPerson], origin: Any) -> Contents:
    joints = [np.where(one.labelled[:, None], one.joints + 1, math.nan) for one in people]
    return Contents(
        {"pred": np.array(joints)},
        origin,
        MPII.joints,
        tuple(Identity(name=one.image, place=one.place[1]) for one in people),
        by_person=True,
    )


def _read_mat(path: Path) -> Mapping[str, Any]:
    try:
        return read_mat(path)
    except NotImplementedError:
        return read_hdf5(path)  # version 7.3


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".mat": _read_mat,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".npz": npz_arrays,
}
