"""Object key point similarity (OKS), and COCO's average precision by it."""

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
"""Spread of the annotators of COCO's joints, in square roots of the person's area."""

FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""What COCO's evaluation tells, in its order."""

MOST = 20
"""As many people of a picture, the surest first, are looked at."""

Ints = npt.NDArray[np.int64]


def mean_similarity(
    distances: Floats, sigmas: Sequence[float], members: tuple[int, ...] | None = None
) -> PCK:
    """Mean similarity of each joint, percent: 100 at the truth, 61 at two sigmas from it.

    Args:
        distances: (N, J) of `normalized_distances`, in square roots of the person's area.
        sigmas: Of the J joints.
        members: As in `PCK`.
    """
    similarity = np.exp(-((distances / (2 * np.asarray(sigmas))) ** 2) / 2)
    counts = (~np.isnan(distances)).sum(0)
    mean = np.where(counts > 0, 100 * np.nansum(similarity, 0) / np.maximum(counts, 1), np.nan)
    return PCK(mean, counts.astype(np.int64), np.nan, members)


@dataclass(frozen=True)
class Annotated:
    """N annotations, as COCO's AP takes them.

    Attributes:
        images: (N,) numbers of their pictures. Where scores are equal, those of the lower ones come
            first.
        joints: (N, J, 2) pixels.
        labelled: (N, J) bool.
        boxes: (N, 4) x, y, width, height: of those without a labelled joint where they are.
        areas: (N,) pixels.
        ignored: (N,) bool, where nobody is looked for, and who is found is neither right nor wrong.
        crowds: (N,) bool, which of these have room for any number of people.
        categories: (N,) numbers of the categories, each of which is measured by itself before the mean
            is taken.
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
    """M people that were found, as COCO's AP takes them.

    Attributes:
        images: (M,) numbers of their pictures.
        joints: (M, J, 2) pixels; a joint that is not finite is at (0, 0), as in COCO's files.
        scores: (M,), how sure each of them is. Of equal ones of a picture the earlier is first.
        categories: (M,), as of `Annotated`.
        areas: (M,) pixels, of their boxes; None for those around the joints.
    """

    images: Ints
    joints: Floats
    scores: Floats
    categories: Ints
    areas: Floats | None = None


def average_precision(
    truth: Annotated, found: Detected, sigmas: Sequence[float]
) -> dict[str, float]:
    """COCO's figures for key points, by pycocotools, in percent.

    Args:
        truth: Who is there.
        found: Who was found; of a picture the `MOST` surest count.
        sigmas: Of the J joints.

    Returns:
        The `FIGURES`; NaN for those of areas that nobody has.
    """
    finite = np.asarray(np.isfinite(found.joints).all(-1))
    # Joints that nobody has and nobody looked for would lie at (0, 0), outside all that is ignored.
    known = np.asarray(finite.any(0) | truth.labelled.any(0))
    labelled, places = truth.labelled[:, known], truth.joints[:, known]
    joints = np.where(finite[..., None], found.joints, 0.0)[:, known]
    areas = (joints.max(1) - joints.min(1)).prod(1) if found.areas is None else found.areas
    people = [
        {
            "id": number,  # 0 would be taken for a person who was not found
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
