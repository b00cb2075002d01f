"""Keys that no reader of predictions knows, but that may identify the entries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from softgate_ext.data.entries import OddEntry
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_identity import Identity, Key, key_of
from softgate_ext.evaluation.joint_keys import KNOWN, plain
from softgate_ext.evaluation.joint_pictures import Pictured, endings_of, is_called_so, pictures_of
from softgate_ext.files.printable import brief

_OF_NOBODY = frozenset(
    map(plain, ("area", "num_keypoints", "width", "height", "time_ms", "timestamp", "track_id"))
)
Columns = Mapping[str, Sequence[Any]]
"""The values by their keys, one per entry; None for an entry without a value."""


def leaves(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values of unknown keys; those of nested objects under "outer.inner"."""
    found: dict[str, Any] = {}
    waiting = [("", fields)]
    while waiting:
        outer, part = waiting.pop()
        for key, value in part.items():
            if outer or key not in KNOWN:
                if isinstance(value, dict):
                    waiting.append((f"{outer}{key}.", value))
                else:
                    found[f"{outer}{key}"] = value
    return found


def columns_of(entries: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns of the unknown keys in entries of JSON."""
    columns: dict[str, list[Any]] = {}
    for row, fields in enumerate(entries):
        for key, value in leaves(fields).items():
            if isinstance(value, str | int | float):
                columns.setdefault(key, [None] * len(entries))[row] = value
    return columns


def named_by(
    path: Path, who: Sequence[Identity | None], columns: Columns, people: Pictured
) -> tuple[list[Identity | None], tuple[str, ...]]:
    """The identities with image names from an unknown key, if no known key states an image.

    Image names are texts with the suffixes of the dataset's files, of which some are files of the
    dataset.

    Args:
        path: the file, for messages.
        who: the identities from known keys.
        columns: the columns of unknown keys.
        people: the samples of the dataset.

    Returns:
        The identities, and a note if an unknown key was used.

    Raises:
        InputError: several keys have such names.
    """
    read = [one for one in who if one is not None]
    if not read or any(one.pictured or one.annotation_id is not None for one in read):
        return list(who), ()
    endings = endings_of(people.image_paths)
    found: dict[str, list[Identity]] = {}
    for key, values in columns.items():
        named = [Identity(name=value if is_called_so(value, endings) else None) for value in values]
        if any(one.known for one in named) and (pictures_of(path, named, people)[0] >= 0).any():
            found[key] = named
    if len(found) > 1:
        raise InputError(
            f"predictions: {path} names pictures of {people.name} by {' and '.join(map(brief, found))}; takes one "
            "of these as image"
        )
    for key, named in found.items():
        pairs = zip(who, named, strict=True)
        own = [None if one is None else replace(one, name=other.name) for one, other in pairs]
        return own, (
            f"pictures are matched by {brief(key)}, whose values are names of their files",
        )
    return list(who), ()


def refuse_unread(path: Path, columns: Columns, people: Pictured) -> None:
    """Raises InputError if an unknown key may identify the entries, which would be read by order.

    Such a key has texts or whole numbers, with at least half as many different values as there are
    images.
    """
    pictures = len(set(people.image_paths))
    for key, values in columns.items():
        if plain(key.split(".")[-1]) in _OF_NOBODY or list(values) in _counts(len(values)):
            continue
        given = [value for value in values if value is not None]
        keys = [own for own in map(_key, given) if own is not None]
        different = len(set(keys))
        if different > 1 and 2 * len(keys) > len(given) and 2 * different >= pictures:
            raise InputError(
                f"predictions: {path} has {different} values called {brief(key)}, such as "
                f"{brief(keys[0])}, which may tell whose the joints are; takes names of pictures as "
                f"image, ids as image_id or annotation_id, or the file without {brief(key)}, which is then "
                "read in the dataset's order"
            )


def _counts(length: int) -> list[list[Any]]:
    """The numbers of the entries, counted from 0 and from 1."""
    return [list(range(length)), list(range(1, length + 1))]


def _key(value: Any) -> Key | None:
    try:
        return key_of("", value)
    except OddEntry:
        return None
