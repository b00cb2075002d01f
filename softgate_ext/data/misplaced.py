"""Notes on samples with implausible joints, a sign of other coordinates or boxes of another form."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import ReadingNotes

SLACK = 1.0
"""Pixels that a joint may be outside of a box or image, because of rounding or 1-based numbers."""

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
    """Adds notes on samples whose joints are all in one pixel, outside of the image, or outside of the box.

    A sample gets only the first note that applies. It is not left out, because it is unknown whether
    the joints, the box or the image are wrong.

    Args:
        notes: gets the notes.
        things: the word for samples in the form that `counted` takes, such as "annotation[s]".
        which: the names of the N samples.
        joints: (N, J, 2), in 0-based pixels.
        labelled: (N, J) bool. Samples without a labelled joint get no note.
        boxes: (N, 4) x, y, width, height; None without boxes.
        sizes: (N, 2), width and height of the images, NaN if not known; None if none is known.
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
    """(N,) bool, whether a labelled joint is between two corners (N, 2)."""
    inside = (joints >= low[:, None] - SLACK) & (joints <= high[:, None] + SLACK)
    return np.asarray((inside.all(-1) & labelled).any(1))
