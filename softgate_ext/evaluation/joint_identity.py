"""What a file of predictions says of whom each of its entries is."""

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
FAR = 1e9  # pixels, beyond which nothing is a box


@dataclass(frozen=True)
class Identity:
    """What one entry says; None where it says nothing.

    Attributes:
        name: Name or path of the picture's file.
        image_id: What the dataset's file calls the picture; some tools put its name here.
        annotation_id: What the dataset's file calls the person.
        id: Either of these three, by what else there is.
        box: x, y, width, height of the person.
        score: How sure the program was of the person.
        place: Of the person in `annorect` of the picture, from 0, as MPII's people are known by.
        frame: Number of the picture in a video.
        category: Id of the kind of person, as text, by which the dataset knows it.
        area: Width times height of `bbox`, of any size, by which COCO's AP tells small from large.
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
        """Whether it says anything of the picture."""
        return any(key is not None for key in (self.name, self.image_id, self.frame))

    @property
    def known(self) -> bool:
        """Whether it says anything of the picture or the person that the dataset has too."""
        return self.pictured or self.annotation_id is not None or self.id is not None


def identity_of(fields: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Identity:
    """What an entry says.

    Args:
        fields: Of the person, as a file names them; `category_id` as `category_of` has it.
        whole: Of the picture in which the person is listed, whose `id` is the picture's.

    Raises:
        OddEntry: A field is something else.
    """
    found = {name: _first(fields, names) for name, names in FIELDS.items()}
    if whole is not None:
        for name in ("name", "image_id", "frame"):
            found[name] = _first(whole, FIELDS[name]) if found[name] is None else found[name]
        if found["image_id"] is None:
            found["image_id"] = whole.get("id")
    if found["name"] is not None and not isinstance(found["name"], str):  # a number of a picture
        found["image_id"] = found["name"] if found["image_id"] is None else found["image_id"]
        found["name"] = None
    frame = key_of("frame", found["frame"])
    if isinstance(frame, str) and found["name"] is None and found["image_id"] is None:
        raise OddEntry("whose frame is not a number")
    given = key_of("place", found["place"])
    try:
        place = None if given is None else int(given)  # arrays of words have words of these too
    except ValueError:
        place = None  # where the picture was taken, say
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
    """The dataset's id of an entry's category; None where one of them has no categories.

    By the name where both files have names, since each file counts as it likes; else by the id.

    Args:
        given: The id in the file of predictions.
        name: What the file of predictions calls the category, if it says.
        categories: Names in lower case, by ids as text, of those that the dataset's people have.

    Raises:
        OddEntry: It is of another category.
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
    """What arrays with one row an entry say, which are taken out of `arrays`; empty where none does.

    None is an entry of other categories than the dataset's, or that says something else than an
    identity, or nothing while others do; `notes` takes these. Pixels and scores of joints go by the same names: they stay.

    Raises:
        ValueError: An array has something else, or the arrays are not equally long.
    """
    columns: dict[str, list[Any]] = {}
    for field, names in FIELDS.items():
        for name in (spelling for each in names for spelling in (each, f"{each}s")):
            if name in arrays and (rows := _rows(field, arrays[name])) is not None:
                if field == "score" and any(len(c) != len(rows) for c in columns.values()):
                    continue  # of the joints of one person
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
    """None for those that say nothing of whom they are, if others do; `notes` takes what messages
    call them."""
    if not any(one.known for one in who if one is not None):
        return list(who)
    for one, name in zip(who, which, strict=True):
        if one is not None and not one.known:
            notes.count(
                "entr[y|ies] without a picture or an id, which others have, [is|are] left out", name
            )
    return [one if one is not None and one.known else None for one in who]


def words_of(names: Any) -> list[Any]:
    """The values of an array; MATLAB has a cell around each, HDF5 has bytes, both may be padded."""
    cells = [np.asarray(cell).ravel() for cell in np.asarray(names).ravel()]
    if any(cell.size > 1 for cell in cells):
        raise ValueError("a cell has several values")
    values = [cell.tolist()[0] if cell.size else "" for cell in cells]
    words = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
    return [word.rstrip(" \0") if isinstance(word, str) else word for word in words]


def same_keys(held: Sequence[Key | None], wanted: Mapping[Hashable, int]) -> list[int]:
    """What `wanted` has for each key, -1 for those it lacks.

    "42", "000042" and "42.0" are 42, unless the file or the dataset has two spellings of one number.
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
    """The number that a key is or spells; -1 for others."""
    if isinstance(key, str):
        whole = re.fullmatch(r"([0-9]{1,19})(\.0+)?", key)
        return -1 if whole is None else int(whole[1])
    return int(key) if isinstance(key, int | np.integer) else -1


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    values = (fields.get(name) for name in names)
    return next((value for value in values if value is not None and value != ""), None)


def key_of(field: str, value: Any) -> Key | None:
    """An id as Python has it: MATLAB stores whole numbers as floats."""
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
    """A box, or None where it is none: other programs' boxes are no reason to leave out an entry."""
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
    """The values of an array that has one an entry; None for what is none, such as pixels."""
    array: npt.NDArray[Any] = np.asarray(value)
    if field == "box":
        return array.tolist() if array.ndim == 2 and array.shape[1] == 4 else None
    if array.ndim == 0:  # of the whole file
        return None
    if array.size != max(array.shape):  # joints' scores, pixels
        if field == "score" or array.ndim > 2:
            return None
        raise ValueError(f"{field} has the shape {array.shape}, and takes one value for each entry")
    return words_of(array)
