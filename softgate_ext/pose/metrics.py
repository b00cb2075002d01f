"""Percentage of correct key points (PCK) with its reference lengths, and the constant mean pose."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import LSP

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class PCK:
    """The percentage of correct joints, 0 to 100, of each joint and on average.

    It also holds the mean similarity of joints (`mean_similarity`), and PCP, with body parts in place
    of joints. Papers print one of two averages without naming it, so both are given: `mean` and
    `pooled`.

    Attributes:
        per_joint: (J,), the percentage of each joint; NaN if it is labelled nowhere.
        counts: (J,), the number of labelled instances of each joint.
        threshold: the largest accepted distance, in reference lengths; for an area under the curve, the
            end of the curve.
        members: indices of the joints that enter the two averages; None for all.
    """

    per_joint: Floats
    counts: npt.NDArray[np.int64]
    threshold: float
    members: tuple[int, ...] | None = None

    @property
    def mean(self) -> float:
        """The plain mean of the joints' percentages, in which all joints have the same weight."""
        return _plain(self.per_joint[self._chosen], self.counts[self._chosen])

    @property
    def pooled(self) -> float:
        """The percentage over all labelled instances of all joints: the mean weighted by counts."""
        percent, counts = self.per_joint[self._chosen], self.counts[self._chosen]
        if not counts.any():
            return float("nan")
        return float(np.average(np.where(counts > 0, percent, 0.0), weights=counts))

    @property
    def _chosen(self) -> list[int]:
        return list(range(len(self.counts)) if self.members is None else self.members)

    def grouped(self, columns: Mapping[str, Sequence[int]] = LSP.groups) -> dict[str, float]:
        """The columns of the published tables, each the plain mean of its joints."""
        return {
            title: _plain(self.per_joint[list(joints)], self.counts[list(joints)])
            for title, joints in columns.items()
        }


def _plain(percent: Floats, counts: npt.NDArray[np.int64]) -> float:
    return float(percent[counts > 0].mean()) if counts.any() else float("nan")


def half_up(percentage: float, digits: int) -> str:
    """A percentage rounded half up, as published tables print it: 78.25 gives 78.3."""
    if not math.isfinite(percentage):
        return "-"
    step = Decimal(1).scaleb(-digits)
    return str(Decimal(repr(not_below(percentage))).quantize(step, ROUND_HALF_UP))


def not_below(percentage: float) -> float:
    """The percentage, raised to the next float if it is a rounded short decimal from below.

    Counts give exact ties: 1841 of 2000 is 92.05, which is published as 92.1. The nearest float is
    smaller, and rounding it would give 92.0.
    """
    short = round(float(percentage), 3)
    if not abs(short - percentage) < 1e-9:
        return float(percentage)
    return short if Decimal(short) >= Decimal(repr(short)) else math.nextafter(short, math.inf)


def normalized_distances(
    predicted: npt.ArrayLike,
    target: npt.ArrayLike,
    labelled: npt.ArrayLike,
    reference_length: npt.ArrayLike,
) -> Floats:
    """The distance of each predicted joint from its ground truth, in reference lengths.

    Args:
        predicted: (N, J, 2), in pixels of the original image; NaN for a missing prediction.
        target: (N, J, 2), in pixels of the original image.
        labelled: (N, J) bool, the joints that count, including occluded ones.
        reference_length: (N,), in pixels, such as `mpii_head_size(boxes)`.

    Returns:
        (N, J) float64. NaN if the joint is not labelled. Infinity if it is labelled and has no finite
        prediction, which the official evaluations count as wrong too.

    Raises:
        InputError: the shapes disagree, or a labelled target or its length is not finite.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    labelled = np.asarray(labelled, bool)
    length = np.asarray(reference_length, np.float64)
    if target.ndim != 3 or target.shape[-1] != 2:
        raise InputError(f"target must have shape (N, J, 2), got {target.shape}")
    wanted = {"predicted": target.shape, "labelled": target.shape[:2]}
    wanted["reference_length"] = target.shape[:1]
    for name, array in (
        ("predicted", predicted), ("labelled", labelled), ("reference_length", length)
    ):  # fmt: skip
        if array.shape != wanted[name]:
            raise InputError(f"{name} must have shape {wanted[name]}, got {array.shape}")
    if not np.isfinite(target[labelled]).all():
        raise InputError("target must be finite at every labelled joint, got NaN or infinity")
    used = length[labelled.any(1)]
    if not (np.isfinite(used) & (used >= 0)).all():
        raise InputError(
            "reference_length must be finite and not negative for every person with a labelled "
            "joint"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.hypot(*np.moveaxis(predicted - target, -1, 0))
        # Dividing the distance is more exact than multiplying the threshold: 3 / 15 is exactly 0.2.
        share = np.divide(
            distance,
            length[:, None],
            out=np.where(distance == 0, 0.0, np.inf),
            where=length[:, None] > 0,
        )
    share[np.isnan(share)] = np.inf
    share[~labelled] = np.nan
    return share


def pck_of(distances: Floats, threshold: float, members: tuple[int, ...] | None = None) -> PCK:
    """PCK from the result of `normalized_distances`. A distance equal to the limit is correct.

    A distance within a factor of 1 + 1e-9 of the limit counts as equal, so that rounding errors do not
    decide.

    Args:
        distances: (N, J), in reference lengths.
        threshold: the limit, in reference lengths.
        members: as in `PCK`.
    """
    correct = (distances <= threshold * (1 + 1e-9)).sum(0)  # NaN compares false
    counts = (~np.isnan(distances)).sum(0)
    per_joint = np.where(counts > 0, 100.0 * correct / np.maximum(counts, 1), np.nan)
    return PCK(per_joint, counts.astype(np.int64), threshold, members)


def area_under_curve(
    distances: Floats, limit: float = 0.5, members: tuple[int, ...] | None = None
) -> PCK:
    """The area under the PCK curve from 0 to `limit`, as a percentage of the largest possible area.

    It is computed by the trapezoidal rule with steps of 0.01, as in the official MPII evaluation.

    Args:
        distances: (N, J), in reference lengths.
        limit: the end of the curve, in reference lengths.
        members: as in `PCK`.

    Raises:
        InputError: `limit` is less than a step.
    """
    steps = round(100 * limit)
    if steps < 1:
        raise InputError(f"limit must be at least 0.01, got {limit}")
    curve = [pck_of(distances, step / 100).per_joint for step in range(steps + 1)]
    area = np.asarray(np.trapezoid(np.stack(curve), dx=1 / steps, axis=0))
    return dataclasses.replace(pck_of(distances, limit, members), per_joint=area)


def box_diagonal(boxes: npt.ArrayLike) -> Floats:
    """The diagonals (N,) of boxes (N, 4) x1, y1, x2, y2, corners in any order; NaN for NaN."""
    return np.hypot(*box_sides(boxes).T)


def box_sides(boxes: npt.ArrayLike) -> Floats:
    """The widths and heights (N, 2) of boxes (N, 4) x1, y1, x2, y2, corners in any order."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes must have shape (N, 4), got {boxes.shape}")
    return np.abs(boxes[:, 2:] - boxes[:, :2])


def boxes_around(joints: npt.ArrayLike, labelled: npt.ArrayLike) -> Floats:
    """The boxes (N, 4) x1, y1, x2, y2 around the labelled joints; NaN if no joint is labelled.

    Args:
        joints: (N, J, 2).
        labelled: (N, J) bool.
    """
    seen = np.asarray(labelled, bool)[..., None]
    low = np.where(seen, joints, np.inf).min(1)
    high = np.where(seen, joints, -np.inf).max(1)
    boxes = np.concatenate([low, high], 1).astype(np.float64)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def box_overlaps(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """The intersection over union (N, M) of boxes (N, 4) and (M, 4) x1, y1, x2, y2; 0 for NaN."""
    a, b = np.reshape(one, (-1, 1, 4)), np.reshape(other, (1, -1, 4))
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    both = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    union = np.maximum(both - shared, np.finfo(np.float64).tiny)
    return np.asarray(np.nan_to_num(shared / union), np.float64)


def mpii_head_size(head_boxes: npt.ArrayLike) -> Floats:
    """The reference length of PCKh, (N,) in pixels: 0.6 of the diagonal of the annotated head box.

    It is not the distance from neck to head top (Andriluka et al., CVPR 2014). The factor 0.6 is from
    the official code.
    """
    return 0.6 * box_diagonal(head_boxes)


def joint_distance(target: npt.ArrayLike, ends: tuple[int, int]) -> Floats:
    """The distance (N,) between two joints of the ground truth (N, J, 2), in pixels.

    Args:
        target: (N, J, 2), in pixels.
        ends: indices of the two joints.
    """
    target = np.asarray(target, np.float64)
    if target.ndim != 3 or target.shape[1] <= max(ends) or target.shape[2] != 2:
        raise InputError(
            f"target must have shape (N, {max(ends) + 1} or more, 2), got {target.shape}"
        )
    return np.linalg.norm(target[:, ends[0]] - target[:, ends[1]], axis=-1)


def mean_pose(
    joints: npt.ArrayLike, labelled: npt.ArrayLike, centers: npt.ArrayLike, sizes: npt.ArrayLike
) -> Floats:
    """The mean pose of the training samples, relative to the crop.

    With `place_pose` it is a constant predictor. Its score is that of a model which ignores the image.

    Args:
        joints: (N, J, 2), in pixels.
        labelled: (N, J) bool.
        centers: (N, 2), centres of the crops, in pixels.
        sizes: (N,), sides of the crops, in pixels.

    Returns:
        (J, 2), offsets from the centre divided by the side; NaN for a joint that is labelled nowhere.
    """
    joints, labelled = np.asarray(joints, np.float64), np.asarray(labelled, bool)
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    relative = (joints - centers[:, None]) / sizes[:, None, None]
    total = np.where(labelled[..., None], relative, 0.0).sum(0)
    counts = labelled.sum(0)[:, None]
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def place_pose(pose: npt.ArrayLike, centers: npt.ArrayLike, sizes: npt.ArrayLike) -> Floats:
    """The joints (N, J, 2) in pixels of a relative pose (J, 2), as from `mean_pose`, in every crop."""
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    return np.asarray(pose, np.float64)[None] * sizes[:, None, None] + centers[:, None]
