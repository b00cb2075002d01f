"""The file of `--boxes`: boxes of people for images, found by the images' names or numbers."""

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
TOLD = 5  # the most images that one message names
PERSON = "1"  # id of COCO's category "person"


@dataclass(frozen=True)
class ListedBox:
    """One person of the file: the box, not checked yet, and the score of a detector, 0 to 1."""

    values: Any
    score: float | None = None


def meeting(
    boxes: Sequence[ListedBox], width: int, height: int
) -> tuple[list[ListedBox], list[InputError]]:
    """The valid boxes that overlap an image of this size, and an error for each of the others."""
    good, faults = [], []
    for box in boxes:
        try:
            good.append(replace(box, values=check_box(box.values, width, height)))
        except InputError as error:
            faults.append(error)
    return good, faults


class BoxList:
    """The boxes that a JSON file gives for each image.

    The file is one of these:

    - a list of {"file", "bbox_xywh"};
    - detection results in COCO's form, a list of {"image_id", "category_id", "bbox", "score"}. If
      there are several categories, only category 1 is used, which is COCO's person;
    - annotations in COCO's form, an object with "images" and "annotations". Crowds are left out. If
      one category is called "person", all other categories are left out.

    Ids of images and categories are compared as text, so that 1, 1.0 and "1" are equal.

    Args:
        path: the file.
        min_score: boxes with a lower "score" are left out.

    Attributes:
        odd: a message for each entry that has another form.

    Raises:
        InputError: the file has another form.
    """

    def __init__(self, path: Path, min_score: float) -> None:
        self.path, self.odd = path, list[str]()
        self._min_score = min_score
        self._boxes: list[ListedBox | None] = []  # None is an entry without a person
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
        real_folder = cache(os.path.realpath)  # a list names thousands of files in one folder
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
        """The boxes of an image or video, in the order of the file.

        An entry may name a file by a path relative to the working folder or to the list's folder, or
        by the end of a path ("im0001.jpg", "images/im0001.jpg", "im0001"). An entry with a number
        means the images with that number as the last one in their names: 785 is
        COCO_val2014_000000000785.jpg.

        Raises:
            InputError: the list has no entry for the image.
        """
        found = self._entries(picture)
        if not found:
            raise InputError(
                f"boxes: {self.path} has no entry for {picture}; give each picture a box"
            )
        own = [box for index in sorted(found) if (box := self._boxes[index])]
        return [box for box in own if box.score is None or box.score >= self._min_score]

    def others(self, pictures: Iterable[Path]) -> str:
        """A message about images that have boxes but are not among these, or an empty text."""
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
        """Adds an entry; raises TypeError or ValueError unless the image is a path or a number."""
        if isinstance(picture, str):
            if b"\0" in os.fsencode(picture):
                raise ValueError("no file can have this name")
            self._by_name[picture].append(len(self._boxes))
        elif type(picture) is int:  # and no bool, which is an int too
            self._by_number[picture].append(len(self._boxes))
        else:
            raise TypeError
        self._boxes.append(box)

    @contextmanager
    def _odd_told(self, what: str, number: int, got: Any) -> Iterator[None]:
        """Turns the error of an entry into a message; only this entry is lost."""
        try:
            yield
        except OddEntry as odd:
            self.odd.append(f"boxes: {what} {number} of {self.path} {odd}")
        except (TypeError, KeyError, ValueError, AttributeError):
            self.odd.append(
                f"boxes: {what} {number} of {self.path} is {shortened(got)}; takes {ENTRY}"
            )


def _box(entry: dict[str, Any], key: str) -> ListedBox:
    """The box and score of an entry; raises OddEntry if the score is not a number."""
    score = entry.get("score")
    if score is not None and numbers(score) is None:
        raise OddEntry(f"has the score {shortened(score)}; takes a finite number")
    return ListedBox(entry[key], score)
