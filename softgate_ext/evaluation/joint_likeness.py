"""How much entries of a file are like people of one picture, and who belongs to whom by that."""

from collections.abc import Iterator

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.pose.metrics import Floats, box_overlaps

SPREAD = 0.05
"""Distance, over the side of the crop, at which two joints are alike by exp(-1/2): about what COCO's
OKS has in the mean of its joints."""
ALIKE = 0.5
"""Likeness from which COCO's AP begins to count a person as found."""


def pairs(alike: Floats, scores: Floats, by_score: bool) -> Iterator[tuple[int, int]]:
    """Entry and person, greedily: the most alike first; or as in COCO's AP the surest entry first,
    which takes the person whom it is most like, and those hardly like anybody after all others."""
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
    """(M, N) from 0 to 1, OKS with one spread for all joints, over those of the N people that are
    labelled."""
    away = np.linalg.norm(joints[:, None] - people.joints[None], axis=-1)
    alike = np.exp(-(np.minimum(away / (SPREAD * people.sizes[:, None]), 99.0) ** 2) / 2)
    counted = people.labelled
    total = np.where(counted, np.nan_to_num(alike), 0).sum(-1)
    return np.asarray(total / np.maximum(counted.sum(-1), 1), np.float64)


def overlap(boxes: Floats, people: PoseSet) -> Floats:
    """(M, N), intersection over union of boxes x, y, width, height with the people's own, or those
    round their joints, or their crops: whichever is met best."""
    half = people.sizes[:, None] / 2
    crops = np.hstack([people.centers - half, people.centers + half])
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    return np.maximum(box_overlaps(corners, people.person_boxes), box_overlaps(corners, crops))
