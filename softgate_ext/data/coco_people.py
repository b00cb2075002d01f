"""People of a file in COCO's form: those of its images and annotations that can be read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.data.coco_categories import PoseCategories
from softgate_ext.data.entries import OddEntry, ReadingNotes, identity, numbers
from softgate_ext.files.counted import counted


@dataclass(frozen=True)
class ListedImage:
    """An entry of `images`.

    Attributes:
        place: Its place in the list, from 0.
        id: As in the file.
        name: `file_name`.
        size: `width` and `height`, NaN where the file does not state them.
        doubtful: Whether another picture has the same id.
    """

    place: int
    id: Any
    name: str
    size: npt.NDArray[np.float64]
    doubtful: bool = False


@dataclass(frozen=True)
class CocoPerson:
    """An annotation with a labelled joint and a box.

    Attributes:
        image: The picture.
        id: As in the file; None where it has none.
        keypoints: (J, 3) x, y, flag.
        box: x, y, width, height.
        area: In pixels, NaN where the file does not state it.
    """

    image: ListedImage
    id: Any
    keypoints: npt.NDArray[np.float64]
    box: npt.NDArray[np.float64]
    area: float


def listed_images(entries: Iterable[Any], notes: ReadingNotes) -> dict[str, ListedImage]:
    """Images by their ids as text. Two entries of one id and file_name are one image."""
    listed: dict[str, ListedImage] = {}
    for place, entry in enumerate(entries):
        key = identity(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("file_name") if key is not None else None
        if key is None or not isinstance(name, str) or not name:
            which = f"number {place + 1}" if key is None else key
            notes.count("image[s] without an id or a file_name [is|are] passed over", which)
            continue
        doubtful = key in listed and (listed[key].doubtful or listed[key].name != name)
        if doubtful and not listed[key].doubtful:
            notes.count("image id[s] stand[s|] for two pictures[| each]", key)
        if doubtful or key not in listed:
            size = numbers([entry.get("width"), entry.get("height")], 2)
            if size is None or size.min() <= 0:
                size = np.full(2, np.nan)
            listed[key] = ListedImage(place, entry["id"], name, size, doubtful)
    return listed


def annotated_people(
    entries: Iterable[Any],
    categories: PoseCategories,
    images: dict[str, ListedImage],
    notes: ReadingNotes,
) -> Iterator[CocoPerson]:
    """The annotations that can be read; `notes` takes the others with their ids."""
    ordinary = 0
    for place, entry in enumerate(entries, 1):
        key = identity(entry.get("id")) if isinstance(entry, dict) else None
        which = f"number {place}" if key is None else key
        try:
            if not isinstance(entry, dict):
                raise OddEntry("that [is no object|are no objects]")
            category = identity(entry.get("category_id"))
            if category not in categories.listed:
                raise OddEntry("of a category that is not listed")
            if category not in categories.read:
                continue
            given = None if entry.get("iscrowd") else entry.get("keypoints")
            found = _labelled(given, len(categories.skeleton)) if given else None
            image = _image(entry, images)
            box = _box(entry)
        except OddEntry as odd:
            notes.count(f"annotation[s] {odd} [is|are] left out", which)
            continue
        if found is not None and box is None:
            box = _box_around(found)
            if box is not None:
                notes.count(
                    "annotation[s] [has|have] no bbox, which is made from [its|their] joints", which
                )
        if found is None or box is None:
            ordinary += 1
            continue
        area = numbers(entry.get("area"))
        yield CocoPerson(
            image,
            None if key is None else entry["id"],
            found,
            box,
            np.nan if area is None else area.item(),
        )
    if ordinary:
        notes.say(
            counted(
                ordinary,
                "annotation[s] of crowds, or without a labelled joint or a box, [is|are] left out",
            )
        )


def _labelled(given: Any, joints: int) -> npt.NDArray[np.float64] | None:
    """Key points (J, 3), or None where none is labelled."""
    values = numbers(given, 3 * joints)
    if values is None:
        raise OddEntry(f"whose keypoints are not {3 * joints} finite numbers")
    keypoints = values.reshape(joints, 3)
    return keypoints if (keypoints[:, 2] > 0).any() else None


def _image(entry: dict[str, Any], images: dict[str, ListedImage]) -> ListedImage:
    image = images.get(identity(entry.get("image_id")) or "")
    if image is None:
        raise OddEntry("of an image that is not listed")
    if image.doubtful:
        raise OddEntry("of an image id that stands for two pictures")
    return image


def _box(entry: dict[str, Any]) -> npt.NDArray[np.float64] | None:
    """`bbox`, or None where there is none or it has no size."""
    given = entry.get("bbox")
    if given is None or given == []:
        return None
    box = numbers(given, 4)
    if box is None or box[2:].min() < 0:
        raise OddEntry("whose bbox is not 4 finite numbers")
    return box if box[2:].max() > 0 else None


def _box_around(keypoints: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """The pixels from the first to the last labelled joint; None where all are in one place."""
    labelled = keypoints[keypoints[:, 2] > 0, :2]
    low, high = labelled.min(0), labelled.max(0)
    return np.concatenate([low, high - low + 1]) if (high > low).any() else None
