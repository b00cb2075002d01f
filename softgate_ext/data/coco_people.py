"""The images and annotations of a file in COCO's form, checked one by one."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.coco_categories import PoseCategories, category_key
from softgate_ext.data.entries import (
    OddEntry,
    ReadingNotes,
    identity,
    is_crowd,
    numbers,
    tell_flags,
)


@dataclass(frozen=True)
class ListedImage:
    """An entry of `images`.

    Attributes:
        place: its position in the list, from 0.
        id: the id as in the file.
        name: `file_name`.
        size: (2,), `width` and `height` in pixels; NaN if the file does not state them.
        doubtful: whether another image has the same id.
    """

    place: int
    id: Any
    name: str
    size: npt.NDArray[np.float64]
    doubtful: bool = False


@dataclass(frozen=True)
class CocoPerson:
    """An annotation of a person or of a crowd.

    Attributes:
        image: its image.
        id: the id as in the file; None without one.
        which: the name of the annotation in messages.
        category: id of the category, as text.
        keypoints: (J, 3) x, y, flag; the flags are 0 if it has no key points.
        box: (4,) x, y, width, height; width and height are 0 if there is no box.
        area: area in square pixels; NaN if the file does not state it.
        apart: the reason why it gives no crop, as words after "annotation[s]" in the form that `counted`
            takes; empty for a person who is cropped.
        crowd: whether it is a crowd (`iscrowd`).
        ignored: whether COCO's AP ignores it: a crowd, or an annotation without key points by its
            `num_keypoints`, or by the flags if it has no `num_keypoints`.
    """

    image: ListedImage
    id: Any
    which: str
    category: str
    keypoints: npt.NDArray[np.float64]
    box: npt.NDArray[np.float64]
    area: float
    apart: str
    crowd: bool
    ignored: bool


def listed_images(entries: Iterable[Any], notes: ReadingNotes) -> dict[str, ListedImage]:
    """The images by their ids as text. Two entries with the same id and file_name are one image."""
    listed: dict[str, ListedImage] = {}
    files: dict[str, str] = {}
    for place, entry in enumerate(entries):
        key = identity(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("file_name") if key is not None else None
        if key is None or not isinstance(name, str) or not name:
            which = f"number {place + 1}" if key is None else key
            notes.count("image[s] without an id or a file_name [is|are] skipped", which)
            continue
        doubtful = key in listed and (listed[key].doubtful or listed[key].name != name)
        if doubtful and not listed[key].doubtful:
            notes.count("image id[s] belong[s|] to two pictures[| each]", key)
        if doubtful or key not in listed:
            stated = [entry.get("width"), entry.get("height")]
            size = numbers(stated, 2)
            if size is None or size.min() <= 0:
                size = np.full(2, np.nan)
                if stated != [None, None]:
                    notes.count(
                        "image[s] whose width and height are not 2 numbers above 0 [is|are] read "
                        "without a size", key,
                    )  # fmt: skip
            if files.setdefault(name, key) != key:
                notes.count(
                    "file[s] with several image ids [is|are] read as one picture[| each]", name
                )
            listed[key] = ListedImage(place, entry["id"], name, size, doubtful)
    return listed


def annotated_people(
    entries: Iterable[Any],
    categories: PoseCategories,
    images: dict[str, ListedImage],
    notes: ReadingNotes,
) -> Iterator[CocoPerson]:
    """The annotations that can be read and have a joint or a box.

    Args:
        entries: the annotations of the file.
        categories: the categories that are read.
        images: the result of `listed_images`.
        notes: gets the ids of annotations that cannot be read, and of those with `apart`.
    """
    met: Counter[str | None] = Counter()
    drawn: dict[tuple[str, bytes], str] = {}
    for place, entry in enumerate(entries, 1):
        key = identity(entry.get("id")) if isinstance(entry, dict) else None
        which = f"number {place}" if key is None else key
        try:
            if not isinstance(entry, dict):
                raise OddEntry("that [is not an object|are not objects]")
            category = category_key(entry, categories.listed)
            if category not in categories.listed:
                raise OddEntry("of a category that is not listed")
            if category not in categories.read:
                continue
            crowd = is_crowd(entry)
            found = _keypoints(entry.get("keypoints"), len(categories.skeleton), crowd)
            image = _image(entry, images)
            box = _box(entry)
        except OddEntry as odd:
            notes.count(f"annotation[s] {odd} [is|are] left out", which)
            continue
        met[key] += 1
        if key is not None and met[key] == 2:
            notes.count(
                "annotation id[s] belong[s|] to several annotations[| each], so that predictions cannot "
                "be matched by [it|them]", key,
            )  # fmt: skip
        if category and entry.get("category_id") is None:
            notes.count(
                "annotation[s] without a category_id [is|are] taken to be of the only category",
                which,
            )
        tell_flags(found[:, 2], "annotation[s]", which, notes)
        labelled = bool((found[:, 2] > 0).any())
        apart = _apart(entry, labelled)
        if not apart and box is None:
            box = _box_around(found)
            if box is None:
                apart = "without a bbox, whose joints are in one place,"
            else:
                notes.count(
                    "annotation[s] [has|have] no bbox; it is computed from [its|their] joints",
                    which,
                )
        if apart:
            notes.count(f"annotation[s] {apart} [is|are] not among the samples", which)
        elif drawn.setdefault((image.name, _labelled(found).tobytes()), which) != which:
            notes.count(
                "annotation[s] [has|have] the same joints as another annotation of the picture",
                which,
            )
        if not labelled and box is None:
            continue
        area, count = numbers(entry.get("area")), numbers(entry.get("num_keypoints"))
        yield CocoPerson(
            image,
            None if key is None else entry["id"],
            which,
            category,
            found,
            np.zeros(4) if box is None else box,
            np.nan if area is None else area.item(),
            apart,
            crowd,
            crowd or not (labelled if count is None else count),
        )


def _apart(entry: dict[str, Any], labelled: bool) -> str:
    """The reason why an annotation gives no crop, whatever its box; empty if it may give one."""
    if is_crowd(entry):
        return "of [a crowd|crowds]"
    if entry.get("keypoints") in (None, []):
        return "without keypoints"
    return "" if labelled else "without a labelled joint"


def _keypoints(given: Any, joints: int, crowd: bool) -> npt.NDArray[np.float64]:
    """The key points (J, 3), zeros if there are none; those of a crowd may have any form."""
    values = np.zeros(3 * joints) if given in (None, []) else numbers(given, 3 * joints)
    if values is None and not crowd:
        raise OddEntry(f"whose keypoints are not {3 * joints} finite numbers")
    return np.zeros((joints, 3)) if values is None else values.reshape(joints, 3)


def _labelled(keypoints: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The key points (J, 3) with zeros for joints that are not labelled, whose values are arbitrary."""
    return np.where(keypoints[:, 2:] > 0, keypoints, 0)


def _image(entry: dict[str, Any], images: dict[str, ListedImage]) -> ListedImage:
    image = images.get(identity(entry.get("image_id")) or "")
    if image is None:
        raise OddEntry("of an image that is not listed")
    if image.doubtful:
        raise OddEntry("of an image id that belongs to two pictures")
    return image


def _box(entry: dict[str, Any]) -> npt.NDArray[np.float64] | None:
    """The `bbox`, or None if it is missing or has no size."""
    given = entry.get("bbox")
    if given is None or given == []:
        return None
    box = numbers(given, 4)
    if box is None or box[2:].min() < 0:
        raise OddEntry("whose bbox is not 4 finite numbers")
    return box if box[2:].max() > 0 else None


def _box_around(keypoints: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """The box of pixels around the labelled joints, or None if all are at one place."""
    labelled = keypoints[keypoints[:, 2] > 0, :2]
    low, high = labelled.min(0), labelled.max(0)
    return np.concatenate([low, high - low + 1]) if (high > low).any() else None
