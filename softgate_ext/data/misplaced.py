"""People whose joints lie where nobody's are: a file of other coordinates, or boxes of another form."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import ReadingNotes

SLACK = 1.0
"""Pixels by which a joint may lie beside a box or picture, which rounding and 1-based numbers make."""

Array = npt.NDArray[np.float64]


def tell_misplaced(
    notes: ReadingNotes,
    things: str,
    which: Sequence[str],
    joints: Array,
    labelled: npt.NDArray[np.bool_],
    boxes: Array | None = None,
    sizes: Array | None = None,
) -> None:
    """Notes the people all of whose joints are in one pixel, outside of the picture or of the box.

    Each is told of the first of these alone. They are people like others: what is wrong of joints,
    box and picture cannot be known.

    Args:
        notes: Takes them.
        things: What they are called, as `counted` takes it, such as "annotation[s]".
        which: What each of the N is called.
        joints: (N, J, 2) 0-based pixels.
        labelled: (N, J); of nobody without such a joint there is anything to tell.
        boxes: (N, 4) x, y, width, height.
        sizes: (N, 2) width and height of the pictures, NaN where they are not known.
    """
    low = np.where(labelled[..., None], joints, np.inf).min(1)
    high = np.where(labelled[..., None], joints, -np.inf).max(1)
    together = ((high - low) < 1).all(1) & (labelled.sum(1) > 1)
    outside = np.zeros(len(joints), bool)
    beside = np.zeros(len(joints), bool)
    if sizes is not None:
        outside = np.isfinite(sizes).all(1) & ~_any_inside(joints, labelled, 0 * sizes, sizes)
    if boxes is not None:
        beside = ~_any_inside(joints, labelled, boxes[:, :2], boxes[:, :2] + boxes[:, 2:])
    kinds = np.select([together, outside, beside], [1, 2, 3], 0) * labelled.any(1)
    for one, kind in zip(which, kinds.tolist(), strict=True):
        if kind:
            notes.count(f"{things} [has|have] all joints {_KINDS[kind]}", one)


_KINDS = ("", "in one pixel", "outside of the picture", "outside of [its|their] box[|es]")


def _any_inside(
    joints: Array, labelled: npt.NDArray[np.bool_], low: Array, high: Array
) -> npt.NDArray[np.bool_]:
    """(N,) whether a labelled joint lies between two corners (N, 2)."""
    inside = (joints >= low[:, None] - SLACK) & (joints <= high[:, None] + SLACK)
    return np.asarray((inside.all(-1) & labelled).any(1))
