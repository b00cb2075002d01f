"""`Identity`: what a file of predictions states about the image and the person of an entry."""

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import OddEntry, ReadingNotes, identity, numbers
from softgate_ext.evaluation.joint_keys import FIELDS

Key = int | str
FAR = 1e9  # pixels: the limit of coordinates of a box


@dataclass(frozen=True)
class Identity:
    """The identity of one entry; a field is None if the entry does not state it.

    Attributes:
        name: name or path of the image file.
        image_id: the id of the image in the dataset's file; some tools write the name here.
        annotation_id: the id of the annotation in the dataset's file.
        id: an id that may be of an image or an annotation, depending on the other fields.
        box: x, y, width, height of the person, in pixels.
        score: the score of the person.
        place: the position of the person in `annorect` of the image, from 0, as for MPII.
        frame: the number of the image in a video.
        category: the id of the category in the dataset, as text.
        area: width times height of `bbox`, whatever its size, which COCO's AP uses for its size ranges.
    """

    name: str | None = None
    image_id: Key | None = None
    annotation_id: Key | None = None
    id: Key | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    place: int | None = None
    frame: int | None = None
    category: str | None = None
    area: float | None = None

    @property
    def pictured(self) -> bool:
        """Whether the entry states its image."""
        return any(key is not None for key in (self.name, self.image_id, self.frame))

    @property
    def known(self) -> bool:
        """Whether the entry states its image or its annotation."""
        return self.pictured or self.annotation_id is not None or self.id is not None


def identity_of(fields: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Identity:
    """Reads the identity of an entry.

    Args:
        fields: the fields of the person under the names of the file; `category_id` is a result of
            `category_of`.
        whole: the fields of the image in which the person is listed; `id` is that of the image.

    Raises:
        OddEntry: a field has another type.
    """
    found = {name: _first(fields, names) for name, names in FIELDS.items()}
    if whole is not None:
        for name in ("name", "image_id", "frame"):
            found[name] = _first(whole, FIELDS[name]) if found[name] is None else found[name]
        if found["image_id"] is None:
            found["image_id"] = whole.get("id")
    if found["name"] is not None and not isinstance(found["name"], str):  # a number: an image id
        found["image_id"] = found["name"] if found["image_id"] is None else found["image_id"]
        found["name"] = None
    frame = key_of("frame", found["frame"])
    if isinstance(frame, str) and found["name"] is None and found["image_id"] is None:
        raise OddEntry("whose frame is not a number")
    given = key_of("place", found["place"])
    try:
        place = None if given is None else int(given)  # an array of texts has numbers as texts
    except ValueError:
        place = None  # another meaning, such as the place where an image was taken
    return Identity(
        found["name"],
        key_of("image_id", found["image_id"]),
        key_of("annotation_id", found["annotation_id"]),
        key_of("id", found["id"]),
        _box(found["box"]),
        _score(found["score"]),
        place,
        None if isinstance(frame, str) else frame,
        found["category"],
        None if (extent := numbers(fields.get("bbox"), 4)) is None else float(extent[2:].prod()),
    )


def category_of(given: Any, name: str | None, categories: Mapping[str, str]) -> str | None:
    """The id in the dataset of an entry's category; None if the dataset or the entry has none.

    Categories are compared by name if both files have names, because files may number them differently;
    else by id.

    Args:
        given: the id in the file of predictions.
        name: the name of the category in the file of predictions, if it has names.
        categories: the names, in lower case, of the dataset's categories by their ids as text.

    Raises:
        OddEntry: the category is not one of the dataset.
    """
    key = identity(given)
    if name is not None and any(categories.values()):
        named = [own for own, title in categories.items() if title == name.lower()]
        key = key if key in named else next(iter(named), None)
    elif not categories or given is None or (isinstance(given, float) and math.isnan(given)):
        return None
    if key not in categories:
        raise OddEntry("of a category that the data do not have")
    return key


def identities_of(
    arrays: dict[str, Any], categories: Mapping[str, str], notes: ReadingNotes
) -> tuple[Identity | None, ...]:
    """Reads the identities from arrays that have one row per entry.

    These arrays are removed from `arrays`. Arrays of pixels and of joints' scores, which may have the
    same names, stay.

    Args:
        arrays: the arrays of the file.
        categories: the categories of the dataset, as in `category_of`.
        notes: gets notes on entries that are left out.

    Returns:
        The identities; empty if there are no such arrays. None stands for an entry of another category,
        for one that cannot be read, and for one without an identity although others have one.

    Raises:
        ValueError: an array has another form, or the arrays have different lengths.
    """
    columns: dict[str, list[Any]] = {}
    for field, names in FIELDS.items():
        for name in (spelling for each in names for spelling in (each, f"{each}s")):
            if name in arrays and (rows := _rows(field, arrays[name])) is not None:
                if field == "score" and any(len(c) != len(rows) for c in columns.values()):
                    continue  # scores of the joints of one person
                columns.setdefault(names[0], rows)
                del arrays[name]
    lengths = {len(rows) for rows in columns.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{len(rows)} {name}" for name, rows in columns.items())
        raise ValueError(f"it has {told}; these numbers must be equal")
    who: list[Identity | None] = []
    places = [f"number {row + 1}" for row in range(max(lengths, default=0))]
    for place, row in zip(places, zip(*columns.values(), strict=True), strict=True):
        try:
            fields = dict(zip(columns, row, strict=True))
            kind = category_of(fields.get("category_id"), None, categories)
            who.append(identity_of({**fields, "category_id": kind}))
        except OddEntry as odd:
            who.append(None)
            notes.count(f"entr[y|ies] {odd} [is|are] left out", place)
    return tuple(only_known(who, places, notes))


def only_known(
    who: Sequence[Identity | None], which: Sequence[str], notes: ReadingNotes
) -> list[Identity | None]:
    """The identities with None for entries that state nothing, if other entries state something.

    Args:
        who: the identities.
        which: the names of the entries in messages.
        notes: gets notes on these entries.
    """
    if not any(one.known for one in who if one is not None):
        return list(who)
    for one, name in zip(who, which, strict=True):
        if one is not None and not one.known:
            notes.count(
                "entr[y|ies] without a picture or an id, which others have, [is|are] left out", name
            )
    return [one if one is not None and one.known else None for one in who]


def words_of(names: Any) -> list[Any]:
    """The values of an array as texts or numbers. MATLAB wraps each in a cell, and HDF5 gives bytes."""
    cells = [np.asarray(cell).ravel() for cell in np.asarray(names).ravel()]
    if any(cell.size > 1 for cell in cells):
        raise ValueError("a cell has several values")
    values = [cell.tolist()[0] if cell.size else "" for cell in cells]
    words = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
    return [word.rstrip(" \0") if isinstance(word, str) else word for word in words]


def same_keys(held: Sequence[Key | None], wanted: Mapping[Hashable, int]) -> list[int]:
    """The value of `wanted` for each key, -1 if the key is missing.

    "42", "000042" and "42.0" are equal to 42, unless the file or the dataset has two spellings of one
    number.
    """
    numbers: dict[int, set[Hashable]] = {}
    for key in wanted:
        numbers.setdefault(number_of(key), set()).add(key)
    spellings: dict[int, set[Hashable]] = {}
    for key in held:
        spellings.setdefault(number_of(key), set()).add(key)

    def place(key: Key | None) -> int:
        if key is None or key in wanted:
            return -1 if key is None else wanted[key]
        number = number_of(key)
        meant = numbers.get(number, ())
        if number < 0 or len(meant) != 1 or len(spellings[number]) != 1:
            return -1
        return wanted[next(iter(meant))]

    return [place(key) for key in held]


def number_of(key: Any) -> int:
    """The number that a key is, as an integer or a text; -1 for other keys."""
    if isinstance(key, str):
        whole = re.fullmatch(r"([0-9]{1,19})(\.0+)?", key)
        return -1 if whole is None else int(whole[1])
    return int(key) if isinstance(key, int | np.integer) else -1


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    values = (fields.get(name) for name in names)
    return next((value for value in values if value is not None and value != ""), None)


def key_of(field: str, value: Any) -> Key | None:
    """An id as an integer or text. MATLAB stores whole numbers as floats.

    Raises:
        OddEntry: the value is not an id.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    if not isinstance(value, int) or isinstance(value, bool):
        raise OddEntry(f"whose {field} is not an id")
    return value


def _score(value: Any) -> float | None:
    try:
        score = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.inf
    if isinstance(value, bool) or (score is not None and math.isinf(score)):
        raise OddEntry("whose score is not a number")
    return score


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """The box, or None if the value is not one. An invalid box does not make an entry unreadable."""
    if not isinstance(value, Sequence) or len(value) != 4:
        return None
    try:
        x, y, width, height = (float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        x = y = width = height = math.inf
    if math.inf in map(abs, (x, y, width, height)):
        raise OddEntry("whose box is not 4 finite numbers")
    sound = abs(x) < FAR and abs(y) < FAR and 0 < width < FAR and 0 < height < FAR
    return (x, y, width, height) if sound else None


def _rows(field: str, value: Any) -> list[Any] | None:
    """The values of an array with one value per entry; None for another array, such as pixels."""
    array: npt.NDArray[Any] = np.asarray(value)
    if field == "box":
        return array.tolist() if array.ndim == 2 and array.shape[1] == 4 else None
    if array.ndim == 0:  # a value for the whole file
        return None
    if array.size != max(array.shape):  # scores of joints, or pixels
        if field == "score" or array.ndim > 2:
            return None
        raise ValueError(f"{field} has the shape {array.shape}, and takes one value for each entry")
    return words_of(array)
