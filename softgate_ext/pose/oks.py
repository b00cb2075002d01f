"""Object key point similarity (OKS), and COCO's average precision (AP) based on it."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO as Annotations
from pycocotools.cocoeval import COCOeval

from softgate_ext.pose.metrics import PCK, Floats
from softgate_ext.pose.skeleton import COCO

_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
COCO_SIGMAS = dict(zip(COCO.joints, _SIGMAS, strict=True))
"""Standard deviation of the annotators for each of COCO's joints, in square roots of the person's
area."""

FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""The results of COCO's evaluation, in its order."""

MOST = 20
"""The most people of an image that are evaluated, those with the highest scores first."""

Ints = npt.NDArray[np.int64]


def mean_similarity(
    distances: Floats, sigmas: Sequence[float], members: tuple[int, ...] | None = None
) -> PCK:
    """The mean similarity of each joint in percent: 100 at the ground truth, 61 at two sigmas.

    Args:
        distances: (N, J), the result of `normalized_distances` in square roots of the person's area.
        sigmas: the sigma of each of the J joints.
        members: as in `PCK`.
    """
    similarity = np.exp(-((distances / (2 * np.asarray(sigmas))) ** 2) / 2)
    counts = (~np.isnan(distances)).sum(0)
    mean = np.where(counts > 0, 100 * np.nansum(similarity, 0) / np.maximum(counts, 1), np.nan)
    return PCK(mean, counts.astype(np.int64), np.nan, members)


@dataclass(frozen=True)
class Annotated:
    """The ground truth of COCO's AP: N annotations.

    Attributes:
        images: (N,), the numbers of their images. Detections of equal scores are ordered by them.
        joints: (N, J, 2), in pixels.
        labelled: (N, J) bool.
        boxes: (N, 4), x, y, width, height in pixels; they locate annotations without labelled joints.
        areas: (N,), in square pixels.
        ignored: (N,) bool, annotations that need not be found. A detection that matches one is neither
            right nor wrong.
        crowds: (N,) bool, ignored annotations that may match any number of detections.
        categories: (N,), the numbers of the categories. Each category is evaluated alone, and the mean
            over the categories is taken.
    """

    images: Ints
    joints: Floats
    labelled: npt.NDArray[np.bool_]
    boxes: Floats
    areas: Floats
    ignored: npt.NDArray[np.bool_]
    crowds: npt.NDArray[np.bool_]
    categories: Ints


@dataclass(frozen=True)
class Detected:
    """The predictions of COCO's AP: M detected people.

    Attributes:
        images: (M,), the numbers of their images.
        joints: (M, J, 2), in pixels. A joint that is not finite is set to (0, 0), as in COCO's files.
        scores: (M,), the scores of the people. Equal scores in an image keep their order.
        categories: (M,), as in `Annotated`.
        areas: (M,), the areas of their boxes in square pixels; None for the boxes around the joints.
    """

    images: Ints
    joints: Floats
    scores: Floats
    categories: Ints
    areas: Floats | None = None


def average_precision(
    truth: Annotated, found: Detected, sigmas: Sequence[float]
) -> dict[str, float]:
    """COCO's AP and AR for key points, computed by pycocotools, in percent.

    Args:
        truth: the annotations.
        found: the predictions; of each image the `MOST` with the highest scores count.
        sigmas: the sigma of each of the J joints.

    Returns:
        The values of `FIGURES`; NaN for a range of areas without annotations.
    """
    finite = np.asarray(np.isfinite(found.joints).all(-1))
    # A joint that is neither labelled nor predicted is left out: at (0, 0) it would lie outside of all
    # ignored areas.
    known = np.asarray(finite.any(0) | truth.labelled.any(0))
    labelled, places = truth.labelled[:, known], truth.joints[:, known]
    joints = np.where(finite[..., None], found.joints, 0.0)[:, known]
    areas = (joints.max(1) - joints.min(1)).prod(1) if found.areas is None else found.areas
    people = [
        {
            "id": number,  # starts at 1, because pycocotools reads 0 as "not matched"
            "image_id": image,
            "category_id": category,
            "iscrowd": int(crowd),
            "keypoints": np.column_stack([xy, 2 * flags]).ravel().tolist(),
            "num_keypoints": int(not ignored),
            "bbox": box,
            "area": area,
        }
        for number, (image, category, crowd, xy, flags, ignored, box, area) in enumerate(
            zip(
                truth.images.tolist(), truth.categories.tolist(), truth.crowds, places,
                labelled, truth.ignored, truth.boxes.tolist(), truth.areas.tolist(),
                strict=True,
            ), 1,
        )
    ]  # fmt: skip
    flat = np.dstack([joints, np.zeros(joints.shape[:2])]).reshape(len(joints), -1).tolist()
    columns = (found.images, found.categories, found.scores, areas)
    entries = [
        {"id": number, "keypoints": xy, **dict(zip(_COLUMNS, values, strict=True))}
        for number, (xy, *values) in enumerate(
            zip(flat, *(column.tolist() for column in columns), strict=True), 1
        )
    ]
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _index(truth, found, people), _index(truth, found, entries), "keypoints"
        )
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)[known]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = (float(value) for value in evaluation.stats)
    named = zip(FIGURES, values, strict=True)
    return {name: 100 * value if value >= 0 else float("nan") for name, value in named}


_COLUMNS = ("image_id", "category_id", "score", "area")


def _index(truth: Annotated, found: Detected, annotations: list[dict[str, Any]]) -> Annotations:
    index = Annotations()
    index.dataset = {
        "images": [{"id": int(i)} for i in np.union1d(truth.images, found.images)],
        "categories": [{"id": int(i)} for i in np.unique(truth.categories)],
        "annotations": annotations,
    }
    index.createIndex()
    return index
