"""Entries of JSON annotation files: checks of numbers and ids, and notes on entries left out."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.files.counted import counted
from softgate_ext.files.printable import brief

LARGEST = 1e6
"""The limit of coordinates in pixels. No image is larger, and float32 is exact enough up to it."""

_TOLD = 5  # the most ids in one note
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")


class OddEntry(Exception):
    """An entry cannot be read. Its text follows the word "annotation[s]", in the form that `counted`
    takes."""


class ReadingNotes:
    """Notes on what a reader left out or corrected: one note per kind, with a count of its entries."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def say(self, sentence: str) -> None:
        """Adds a note on the whole file."""
        self._found[sentence] = []

    def count(self, kind: str, which: object) -> None:
        """Adds an entry to a kind of note.

        Args:
            kind: words in the form that `counted` takes, such as "[person|people] without a head
                [is|are] left out".
            which: the name of the entry.
        """
        self._found.setdefault(kind, []).append(brief(which))

    def lines(self) -> tuple[str, ...]:
        """All notes, in the order of their first entries."""
        return tuple(_line(kind, entries) for kind, entries in self._found.items())


def _line(kind: str, entries: list[str]) -> str:
    if not entries:
        return kind
    more = f" and {len(entries) - _TOLD} more" if len(entries) > _TOLD else ""
    return f"{counted(len(entries), kind)}: {', '.join(entries[:_TOLD])}{more}"


def tell_flags(
    flags: npt.NDArray[np.float64], things: str, which: object, notes: ReadingNotes,
    meaning: str = "labelled",
) -> None:  # fmt: skip
    """Adds a note if an entry has flags other than COCO's 0, 1 and 2.

    Args:
        flags: the flags of its joints.
        things: the word for entries in the form that `counted` takes, such as "line[s]".
        which: the name of the entry.
        notes: gets the note.
        meaning: how flags above 0 are read.
    """
    if not np.isin(flags, (0, 1, 2)).all():
        notes.count(
            f"{things} [has|have] flags other than 0, 1 and 2; those above 0 are read as {meaning}",
            which,
        )


def numbers(value: Any, *shape: int) -> npt.NDArray[np.float64] | None:
    """A list of finite numbers below `LARGEST`, of this shape, as float64; None for any other value.

    Strings of digits, `null` and `true` do not count as numbers.
    """
    if isinstance(value, list) and bool in map(type, value):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    # An integer of more than 64 bits gives an array of objects.
    if array.dtype.kind not in "iuf" or array.shape != shape:
        return None
    values = array.astype(np.float64)
    return values if (abs(values) < LARGEST).all() else None


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has COCO's flag `iscrowd`, which some tools write as text or as a boolean."""
    given = entry.get("iscrowd")
    return bool(given) and identity(given) not in ("0", "", "false", "False")


def identity(value: Any) -> str | None:
    """An id as text for comparisons, because tools write one id as 10, 10.0, "10" or "10.0".

    Returns:
        The text, or None if the value is neither a string nor a whole number.
    """
    if isinstance(value, str):
        return _WHOLE.sub(r"\1", value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) else None
