"""The boxes of people that a file holds for pictures, found by the pictures' names or numbers."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from softgate_ext.data.entries import OddEntry, identity, is_crowd, numbers
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import real_path
from softgate_ext.files.printable import brief
from softgate_ext.files.reading import read_json
from softgate_ext.prediction.person import check_box, shortened

ENTRY = '{"file", "bbox_xywh"} or {"image_id", "category_id", "bbox"}'
TOLD = 5  # pictures that one sentence names
PERSON = "1"  # id of COCO's category


@dataclass(frozen=True)
class ListedBox:
    """What a file says of one person: the box, unchecked, and how sure a detector was of it."""

    values: Any
    score: float | None = None


def meeting(
    boxes: Sequence[ListedBox], width: int, height: int
) -> tuple[list[ListedBox], list[InputError]]:
    """The boxes that meet a picture of this size, and what is wrong with the others."""
    good, faults = [], []
    for box in boxes:
        try:
            good.append(replace(box, values=check_box(box.values, width, height)))
        except InputError as error:
            faults.append(error)
    return good, faults


class BoxList:
    """The boxes that a JSON file holds for each picture.

    The file is one of these:

    - a list of {"file", "bbox_xywh"};
    - detection results of COCO's form, a list of {"image_id", "category_id", "bbox", "score"}: of
      several categories the first, COCO's person, counts;
    - annotations of COCO's form, an object of "images" and "annotations": crowds are left out, and
      where a category is called "person", the others.

    Ids of pictures and categories are compared as text: 1, 1.0 and "1" are one.

    Args:
        path: the file.
        min_score: boxes with a lower "score" are left out.

    Attributes:
        odd: a sentence for each entry of another form.

    Raises:
        InputError: the file is something else.
    """

    def __init__(self, path: Path, min_score: float) -> None:
        self.path, self.odd = path, list[str]()
        self._min_score = min_score
        self._boxes: list[ListedBox | None] = []  # None stands for nobody
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_number: dict[int, list[int]] = defaultdict(list)
        stored = read_json(path, "boxes")
        if isinstance(stored, list):
            self._add_list(stored)
        elif isinstance(stored, dict) and all(
            isinstance(stored.get(key), list) for key in ("images", "annotations")
        ):
            self._add_annotations(stored)
        else:
            self.odd.append("")
        if self.odd and not self._boxes:
            raise InputError(
                f"boxes: {path} is neither a list of {ENTRY} entries nor COCO annotations"
            )
        self._by_path: dict[str, list[int]] = defaultdict(list)
        self._by_end: dict[tuple[str, ...], list[int]] = defaultdict(list)
        real_folder = cache(os.path.realpath)  # lists name thousands of files of one folder
        for name, indices in self._by_name.items():
            parts = PurePath(name).parts
            places = set()
            for place in (name, os.path.join(path.parent, name)):
                folder, file = os.path.split(place)
                real = os.path.join(real_folder(folder), file)
                simple = file not in ("", ".", "..") and not os.path.islink(real)
                places.add(real if simple else os.path.realpath(place))
            for real in places:
                self._by_path[real] += indices
            if parts and not os.path.isabs(name) and ".." not in parts:
                self._by_end[parts] += indices

    def of(self, picture: Path) -> list[ListedBox]:
        """The boxes of a picture or video, in the file's order.

        A file in the list is a path seen from the working folder or from the list's own, or the
        end of a path ("im0001.jpg", "images/im0001.jpg", "im0001"). A number is the last one in a
        picture's name: 785 stands for COCO_val2014_000000000785.jpg.

        Raises:
            InputError: the list does not know the picture.
        """
        found = self._entries(picture)
        if not found:
            raise InputError(
                f"boxes: {self.path} has no entry for {picture}; give each picture a box"
            )
        own = [box for index in sorted(found) if (box := self._boxes[index])]
        return [box for box in own if box.score is None or box.score >= self._min_score]

    def others(self, pictures: Iterable[Path]) -> str:
        """A sentence about the pictures that have boxes and are none of these; empty without any."""
        used = {index for picture in pictures for index in self._entries(picture)}
        names = [
            brief(picture, 100)
            for picture, own in (*self._by_name.items(), *self._by_number.items())
            if not used & set(own) and any(self._boxes[index] for index in own)
        ]
        if not names:
            return ""
        more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
        count = counted(len(names), "picture[s] that [is|are] not among the sources")
        return f"boxes: {self.path} has boxes of {count}: {', '.join(names[:TOLD])}{more}"

    def _entries(self, picture: Path) -> set[int]:
        found: set[int] = set()
        for path in {picture.absolute(), real_path(picture)}:
            found.update(self._by_path.get(str(path), ()))
            for parts in (path.parts, path.with_suffix("").parts):
                for start in range(len(parts)):
                    found.update(self._by_end.get(parts[start:], ()))
        if numbers := re.findall("[0-9]+", picture.stem):
            found.update(self._by_number.get(int(numbers[-1]), ()))
        return found

    def _add_list(self, entries: list[Any]) -> None:
        categories = {
            identity(entry.get("category_id", PERSON))
            for entry in entries
            if isinstance(entry, dict)
        }
        for number, entry in enumerate(entries, 1):
            with self._odd_told("entry", number, entry):
                if "file" in entry:
                    self._add(os.fspath(entry["file"]), _box(entry, "bbox_xywh"))
                    continue
                person = len(categories) == 1 or identity(entry["category_id"]) == PERSON
                box = _box(entry, "bbox")
                picture = entry["image_id"]
                decimal = isinstance(picture, str) and picture.isdecimal()
                self._add(int(picture) if decimal else picture, box if person else None)

    def _add_annotations(self, stored: dict[str, Any]) -> None:
        names: dict[str | None, str] = {}
        for number, image in enumerate(stored["images"], 1):
            with self._odd_told("image", number, image):
                if (key := identity(image["id"])) is None:
                    raise OddEntry("has an id that is neither a text nor a whole number")
                self._add(os.fspath(image["file_name"]), None)
                names[key] = image["file_name"]
        categories = stored.get("categories")
        persons = [
            identity(category.get("id"))
            for category in (categories if isinstance(categories, list) else ())
            if isinstance(category, dict) and category.get("name") == "person"
        ]
        for number, annotation in enumerate(stored["annotations"], 1):
            with self._odd_told("annotation", number, annotation):
                person = not persons or identity(annotation["category_id"]) in persons
                if person and not is_crowd(annotation):
                    key = identity(annotation["image_id"])
                    if key is not None and key not in names:
                        raise OddEntry(
                            f"is of the image {brief(key)}, which is not listed; takes the id of one of "
                            "the images"
                        )
                    self._add(names[key], _box(annotation, "bbox"))

    def _add(self, picture: str | int, box: ListedBox | None) -> None:
        """Raises TypeError or ValueError where the picture is neither a path nor a number."""
        if isinstance(picture, str):
            if b"\0" in os.fsencode(picture):
                raise ValueError("no file can have this name")
            self._by_name[picture].append(len(self._boxes))
        elif type(picture) is int:  # a truth value would pass for one
            self._by_number[picture].append(len(self._boxes))
        else:
            raise TypeError
        self._boxes.append(box)

    @contextmanager
    def _odd_told(self, what: str, number: int, got: Any) -> Iterator[None]:
        """Makes a sentence of what is wrong with an entry, which then costs itself."""
        try:
            yield
        except OddEntry as odd:
            self.odd.append(f"boxes: {what} {number} of {self.path} {odd}")
        except (TypeError, KeyError, ValueError, AttributeError):
            self.odd.append(
                f"boxes: {what} {number} of {self.path} is {shortened(got)}; takes {ENTRY}"
            )


def _box(entry: dict[str, Any], key: str) -> ListedBox:
    """Raises OddEntry where the score is no number."""
    score = entry.get("score")
    if score is not None and numbers(score) is None:
        raise OddEntry(f"has the score {shortened(score)}; takes a finite number")
    return ListedBox(entry[key], score)
