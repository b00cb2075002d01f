"""Matching of entries to the people of one image, by the similarity of their joints or boxes."""

from collections.abc import Iterator

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.pose.metrics import Floats, box_overlaps

SPREAD = 0.05
"""The distance of two joints, over the side of the crop, at which their similarity is exp(-1/2). This is
about the mean over the joints of COCO's OKS."""
ALIKE = 0.5
"""The lowest similarity at which COCO's AP counts a person as found."""


def pairs(alike: Floats, scores: Floats, by_score: bool) -> Iterator[tuple[int, int]]:
    """Matches entries to people greedily.

    Args:
        alike: (M, N), the similarity of each entry and person.
        scores: (M,), the scores of the entries.
        by_score: False takes the most similar pairs first. True works as COCO's AP: the entry with the
            highest score comes first and takes the most similar person. Pairs with a similarity below
            `ALIKE` come last.

    Yields:
        Pairs of the indices of an entry and a person.
    """
    entries, people = np.nonzero(alike > 0)
    like = alike[entries, people]
    sure = scores[entries]
    first = np.where(by_score & (like >= ALIKE), sure, -np.inf)
    order = np.lexsort((-sure, -like, -first))
    taken: tuple[set[int], set[int]] = set(), set()
    for i, j in zip(entries[order].tolist(), people[order].tolist(), strict=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            yield i, j


def likeness(joints: Floats, people: PoseSet) -> Floats:
    """The similarity (M, N), from 0 to 1: OKS with one sigma for all joints, over labelled joints.

    Args:
        joints: (M, J, 2), the joints of the entries in pixels.
        people: N samples of one image.
    """
    away = np.linalg.norm(joints[:, None] - people.joints[None], axis=-1)
    alike = np.exp(-(np.minimum(away / (SPREAD * people.sizes[:, None]), 99.0) ** 2) / 2)
    counted = people.labelled
    total = np.where(counted, np.nan_to_num(alike), 0).sum(-1)
    return np.asarray(total / np.maximum(counted.sum(-1), 1), np.float64)


def overlap(boxes: Floats, people: PoseSet) -> Floats:
    """The intersection over union (M, N) of boxes with people.

    The box of a person is the annotated one (or the one around the joints), or the crop, whichever
    gives the higher overlap.

    Args:
        boxes: (M, 4), x, y, width, height in pixels.
        people: N samples of one image.
    """
    half = people.sizes[:, None] / 2
    crops = np.hstack([people.centers - half, people.centers + half])
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    return np.maximum(box_overlaps(corners, people.person_boxes), box_overlaps(corners, crops))
