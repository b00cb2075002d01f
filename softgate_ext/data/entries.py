"""Entries of JSON annotation files: what one holds, and those that are passed over."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.files.counted import counted
from softgate_ext.files.printable import brief

LARGEST = 1e6
"""Coordinates are below it: pixels of no picture lie further out, and float32 still tells them."""

_TOLD = 5  # ids of one line
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")


class OddEntry(Exception):
    """An entry that cannot be read; says of which kind it is, to follow "annotation[s]" as `counted`
    takes it."""


class ReadingNotes:
    """What a reader passed over or mended: one line a kind, however many entries are of it."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def say(self, sentence: str) -> None:
        """Something about the whole file."""
        self._found[sentence] = []

    def count(self, kind: str, which: object) -> None:
        """One more entry of a kind, as `counted` takes it, such as "[person|people] without a head
        [is|are] left out"."""
        self._found.setdefault(kind, []).append(brief(which))

    def lines(self) -> tuple[str, ...]:
        """A line for each sentence and each kind, in the order that they came up."""
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
    """Notes an entry whose flags are of another scheme than COCO's.

    Args:
        flags: Of its joints.
        things: What entries are called, as `counted` takes it, such as "line[s]".
        which: The entry.
        notes: Takes it.
        meaning: What flags above 0 are read as.
    """
    if not np.isin(flags, (0, 1, 2)).all():
        notes.count(
            f"{things} [has|have] flags other than 0, 1 and 2; those above 0 are read as {meaning}",
            which,
        )


def numbers(value: Any, *shape: int) -> npt.NDArray[np.float64] | None:
    """A list of that shape of finite numbers below `LARGEST`, as float64; None for all else.

    Strings of digits are no numbers, nor are `null` and `true`.
    """
    if isinstance(value, list) and bool in map(type, value):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    # An integer beyond 64 bits makes the array one of objects.
    if array.dtype.kind not in "iuf" or array.shape != shape:
        return None
    values = array.astype(np.float64)
    return values if (abs(values) < LARGEST).all() else None


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has COCO's flag of a crowd; some tools write it as text, or as a truth value."""
    given = entry.get("iscrowd")
    return bool(given) and identity(given) not in ("0", "", "false", "False")


def identity(value: Any) -> str | None:
    """An id as text, by which ids are compared, since tools write 10, 10.0, "10" and "10.0" for one.

    None where it is neither a string nor a whole number.
    """
    if isinstance(value, str):
        return _WHOLE.sub(r"\1", value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) else None
