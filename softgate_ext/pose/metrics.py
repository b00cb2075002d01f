"""Percentage of correct key points (PCK), and the predictor that any model has to beat."""

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
    """Percentages of correct joints, 0 to 100, or of how similar they are (`mean_similarity`).

    Of body parts (PCP) it is the same, with a part wherever a joint is named here. Papers print one of two averages without saying which, hence both:

    Attributes:
        per_joint: (J,) percentage of each joint, NaN where nobody has it labelled.
        counts: (J,) number of labelled instances of each joint.
        threshold: Largest accepted distance as a share of the reference length; of an area under
            the curve, where the curve ends.
        members: Indices of the joints that enter the two averages; None for all.
    """

    per_joint: Floats
    counts: npt.NDArray[np.int64]
    threshold: float
    members: tuple[int, ...] | None = None

    @property
    def mean(self) -> float:
        """Plain mean of the joints' percentages, each joint counting alike."""
        return _plain(self.per_joint[self._chosen], self.counts[self._chosen])

    @property
    def pooled(self) -> float:
        """Percentage over all labelled joint instances together: the weighted mean."""
        percent, counts = self.per_joint[self._chosen], self.counts[self._chosen]
        if not counts.any():
            return float("nan")
        return float(np.average(np.where(counts > 0, percent, 0.0), weights=counts))

    @property
    def _chosen(self) -> list[int]:
        return list(range(len(self.counts)) if self.members is None else self.members)

    def grouped(self, columns: Mapping[str, Sequence[int]] = LSP.groups) -> dict[str, float]:
        """Columns of the published tables, each the plain mean of its joints as it is there."""
        return {
            title: _plain(self.per_joint[list(joints)], self.counts[list(joints)])
            for title, joints in columns.items()
        }


def _plain(percent: Floats, counts: npt.NDArray[np.int64]) -> float:
    return float(percent[counts > 0].mean()) if counts.any() else float("nan")


def half_up(percentage: float, digits: int) -> str:
    """A percentage as published tables print it: 78.25 is 78.3 and 92.05 is 92.1."""
    if not math.isfinite(percentage):
        return "-"
    step = Decimal(1).scaleb(-digits)
    return str(Decimal(repr(not_below(percentage))).quantize(step, ROUND_HALF_UP))


def not_below(percentage: float) -> float:
    """The float itself, or where it is a short decimal but for rounding, one not below that.

    Counts make exact ties: 1841 of 2000 is 92.05, published as 92.1, yet the nearest float is
    smaller, and whoever rounds that one gets 92.0.
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
    """Distance from each joint to its truth, in reference lengths.

    Args:
        predicted: (N, J, 2) pixels of the original image; NaN where there is no prediction.
        target: (N, J, 2) pixels of the original image.
        labelled: (N, J) bool; joints that count, occluded ones included.
        reference_length: (N,) pixels, such as `mpii_head_size(boxes)`.

    Returns:
        (N, J) float64: NaN where the joint is not labelled, infinity where it is and has no finite
        prediction, which the official evaluations count as wrong too.

    Raises:
        InputError: Shapes disagree, or a labelled target or its length is not finite.
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
        # A quotient, not a product: 3 pixels of 15 are then exactly the 0.2 of the threshold.
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
    """PCK from `normalized_distances`; the limit itself counts as correct (`<=`).

    A distance within 1e-9 of the limit is at the limit: rounding must not decide.
    """
    correct = (distances <= threshold * (1 + 1e-9)).sum(0)  # NaN compares false
    counts = (~np.isnan(distances)).sum(0)
    per_joint = np.where(counts > 0, 100.0 * correct / np.maximum(counts, 1), np.nan)
    return PCK(per_joint, counts.astype(np.int64), threshold, members)


def area_under_curve(
    distances: Floats, limit: float = 0.5, members: tuple[int, ...] | None = None
) -> PCK:
    """Area under the PCK curve from 0 to `limit` in steps of 0.01, as a percentage of the whole.

    The trapezoidal rule over thresholds that are scaled to [0, 1], with the steps of the official
    MPII evaluation.
    """
    steps = round(100 * limit)
    if steps < 1:
        raise InputError(f"limit must be at least 0.01, got {limit}")
    curve = [pck_of(distances, step / 100).per_joint for step in range(steps + 1)]
    area = np.asarray(np.trapezoid(np.stack(curve), dx=1 / steps, axis=0))
    return dataclasses.replace(pck_of(distances, limit, members), per_joint=area)


def box_diagonal(boxes: npt.ArrayLike) -> Floats:
    """Diagonals (N,) of boxes (N, 4) x1, y1, x2, y2, corners in any order; NaN for NaN."""
    return np.hypot(*box_sides(boxes).T)


def box_sides(boxes: npt.ArrayLike) -> Floats:
    """Widths and heights (N, 2) of boxes (N, 4) x1, y1, x2, y2, corners in any order."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes must have shape (N, 4), got {boxes.shape}")
    return np.abs(boxes[:, 2:] - boxes[:, :2])


def boxes_around(joints: npt.ArrayLike, labelled: npt.ArrayLike) -> Floats:
    """Boxes (N, 4) x1, y1, x2, y2 around the labelled (N, J) of the joints (N, J, 2); NaN around
    none."""
    seen = np.asarray(labelled, bool)[..., None]
    low = np.where(seen, joints, np.inf).min(1)
    high = np.where(seen, joints, -np.inf).max(1)
    boxes = np.concatenate([low, high], 1).astype(np.float64)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def box_overlaps(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) x1, y1, x2, y2; 0 for NaN."""
    a, b = np.reshape(one, (-1, 1, 4)), np.reshape(other, (1, -1, 4))
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    both = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    union = np.maximum(both - shared, np.finfo(np.float64).tiny)
    return np.asarray(np.nan_to_num(shared / union), np.float64)


def mpii_head_size(head_boxes: npt.ArrayLike) -> Floats:
    """Reference length of PCKh, (N,) pixels: 0.6 of the diagonal of the annotated head box.

    Not the distance from neck to head top (Andriluka et al., CVPR 2014; 0.6 is from the official
    code).
    """
    return 0.6 * box_diagonal(head_boxes)


def joint_distance(target: npt.ArrayLike, ends: tuple[int, int]) -> Floats:
    """Distance (N,) between two joints of the truth (N, J, 2), such as `LSP_PCK`'s."""
    target = np.asarray(target, np.float64)
    if target.ndim != 3 or target.shape[1] <= max(ends) or target.shape[2] != 2:
        raise InputError(
            f"target must have shape (N, {max(ends) + 1} or more, 2), got {target.shape}"
        )
    return np.linalg.norm(target[:, ends[0]] - target[:, ends[1]], axis=-1)


def mean_pose(
    joints: npt.ArrayLike, labelled: npt.ArrayLike, centers: npt.ArrayLike, sizes: npt.ArrayLike
) -> Floats:
    """Mean training pose relative to the crop: (J, 2), offset from the centre over the size.

    With `place_pose` it is the constant predictor: what a model scores that ignores the image.

    Args:
        joints: (N, J, 2) pixels.
        labelled: (N, J) bool.
        centers: (N, 2) crop centres, pixels.
        sizes: (N,) crop sides, pixels.

    Returns:
        The pose, NaN for a joint that is labelled nowhere.
    """
    joints, labelled = np.asarray(joints, np.float64), np.asarray(labelled, bool)
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    relative = (joints - centers[:, None]) / sizes[:, None, None]
    total = np.where(labelled[..., None], relative, 0.0).sum(0)
    counts = labelled.sum(0)[:, None]
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def place_pose(pose: npt.ArrayLike, centers: npt.ArrayLike, sizes: npt.ArrayLike) -> Floats:
    """A relative pose (J, 2) put into every crop: (N, J, 2) pixels. Inverse of `mean_pose`."""
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    return np.asarray(pose, np.float64)[None] * sizes[:, None, None] + centers[:, None]
