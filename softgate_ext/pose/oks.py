"""Object key point similarity (OKS), and COCO's average precision by it."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

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


def average_precision(
    predicted: npt.ArrayLike,
    scores: npt.ArrayLike,
    target: npt.ArrayLike,
    labelled: npt.ArrayLike,
    boxes: npt.ArrayLike,
    areas: npt.ArrayLike,
    images: Sequence[str],
    sigmas: Sequence[float],
) -> dict[str, float]:
    """COCO's figures for key points, by pycocotools, in percent.

    Args:
        predicted: (N, J, 2) pixels, as many people as there are; a joint that is not finite is at
            (0, 0), as in COCO's files.
        scores: (N,), how sure each of them is.
        target: (N, J, 2) pixels.
        labelled: (N, J) bool. People without a labelled joint are ignored, as COCO does.
        boxes: (N, 4) x1, y1, x2, y2 of the people, which is where those are ignored.
        areas: (N,) pixels.
        images: N names of the images, of which several people may have one.
        sigmas: Of the J joints.

    Returns:
        The `FIGURES`; NaN for those of areas that nobody has.
    """
    people = range(len(images))
    labelled = np.asarray(labelled, bool)
    predicted = np.asarray(predicted, np.float64)
    predicted = np.where(np.isfinite(predicted).all(-1, keepdims=True), predicted, 0.0)
    corners = np.nan_to_num(np.asarray(boxes, np.float64))
    extents = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    flat = [
        np.dstack([xy, 2 * labelled]).reshape(len(images), -1).tolist()
        for xy in (np.asarray(target, np.float64), predicted)
    ]
    ids = np.unique(np.asarray(images), return_inverse=True)[1].tolist()
    area, sure = np.asarray(areas, float).tolist(), np.asarray(scores, float).tolist()
    truth = Annotations()
    truth.dataset = {
        "images": [{"id": image} for image in dict.fromkeys(ids)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": i + 1,  # 0 would be taken for a person who was not found
                "image_id": ids[i],
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": flat[0][i],
                "num_keypoints": int(labelled[i].sum()),
                "bbox": extents[i],
                "area": area[i],
            }
            for i in people
        ],
    }
    found = [
        {"image_id": ids[i], "category_id": 1, "keypoints": flat[1][i], "score": sure[i]}
        for i in people
    ]
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = (float(value) for value in evaluation.stats)
    named = zip(FIGURES, values, strict=True)
    return {name: 100 * value if value >= 0 else float("nan") for name, value in named}
