"""The ground truth of COCO's average precision: all annotations of a file, also the ignored ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.coco import read_annotations
from softgate_ext.data.entries import ReadingNotes
from softgate_ext.data.jsonfile import find_pictures
from softgate_ext.data.poseset import PoseSet


@dataclass(frozen=True)
class CocoTruth:
    """The images, with or without people, and their annotations, in the order of the file.

    Attributes:
        name: name of the pose set that was read from the file.
        image_paths: the files of the P images.
        ids: (P, 1) object, the ids of the images in the file.
        ranks: (P,) int64, the positions of the images in the order of their ids, which is the order of
            COCO's evaluation.
        categories: numbers of the categories by their ids as text.
        images: (N,) int64, the image of each annotation, as an index below P.
        kinds: (N,) int64, the number of each annotation's category.
        joints: (N, J, 2), in 0-based pixels.
        labelled: (N, J) bool.
        boxes: (N, 4) x, y, width, height, in pixels.
        areas: (N,), in square pixels; NaN if the file does not state them.
        ignored: (N,) bool, annotations that need not be found: crowds, and those without key points.
        crowds: (N,) bool.
        odd_ids: whether the id of an annotation is 0, or occurs twice.
    """

    name: str
    image_paths: list[Path]
    ids: npt.NDArray[np.object_]
    ranks: npt.NDArray[np.int64]
    categories: dict[str, int]
    images: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    joints: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    ignored: npt.NDArray[np.bool_]
    crowds: npt.NDArray[np.bool_]
    odd_ids: bool


def read_truth(people: PoseSet) -> CocoTruth | None:
    """All annotations of the file that `people` was read from.

    Returns:
        The ground truth, or None if `people` does not come from one file in COCO's form.

    Raises:
        InputError: the file can no longer be read.
    """
    if people.annotation_file is None:
        return None
    # The notes are dropped: they were given when `people` was read.
    listed, categories, annotated = read_annotations(people.annotation_file, ReadingNotes())
    if categories.skeleton != people.skeleton:
        return None
    images = [image for image in listed.values() if not image.doubtful]
    places = {image.place: number for number, image in enumerate(images)}
    numbers = {category: number for number, category in enumerate(sorted(categories.read))}
    paths, _ = find_pictures(people.annotation_file, [image.name for image in images], False)
    keypoints = np.array([one.keypoints for one in annotated])
    ids = [one.id for one in annotated if one.id is not None]
    return CocoTruth(
        name=people.name,
        image_paths=paths,
        ids=np.array([image.id for image in images], object)[:, None],
        ranks=_ranks([image.id for image in images]),
        categories=numbers,
        images=np.array([places[one.image.place] for one in annotated], np.int64),
        kinds=np.array([numbers[one.category] for one in annotated], np.int64),
        joints=keypoints[..., :2],
        labelled=keypoints[..., 2] > 0,
        boxes=np.array([one.box for one in annotated]),
        areas=np.array([one.area for one in annotated]),
        ignored=np.array([one.ignored for one in annotated]),
        crowds=np.array([one.crowd for one in annotated]),
        odd_ids=0 in ids or len(set(map(str, ids))) < len(ids),
    )


def _ranks(ids: list[object]) -> npt.NDArray[np.int64]:
    """The position of each id in sorted order, as numbers if all are numbers, else as texts."""
    numeric = all(isinstance(one, int | float) for one in ids)
    ordered = sorted(range(len(ids)), key=lambda place: ids[place] if numeric else str(ids[place]))  # type: ignore[arg-type,return-value]
    ranks = np.empty(len(ids), np.int64)
    ranks[ordered] = np.arange(len(ids))
    return ranks
