"""Percentage of correct key points (PCK), and the predictor that any model has to beat."""

import dataclasses

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import LSP, Skeleton

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class PCK:
    """Percentages of correct joints, 0 to 100.

    Papers print one of two averages without saying which, hence both:

    Attributes:
        per_joint: (J,) percentage of each joint, NaN where nobody has it labelled.
        counts: (J,) number of labelled instances of each joint.
        threshold: Largest accepted distance as a share of the reference length.
    """

    per_joint: Floats
    counts: npt.NDArray[np.int64]
    threshold: float

    @property
    def mean(self) -> float:
        """Plain mean of the joints' percentages, each joint counting alike."""
        return float(self.per_joint[self.counts > 0].mean()) if self.counts.any() else float("nan")

    @property
    def pooled(self) -> float:
        """Percentage over all labelled joint instances together."""
        return _weighted(self.per_joint, self.counts)

    def grouped(self, skeleton: Skeleton = LSP) -> dict[str, float]:
        """Columns of the published tables (Head, Shoulder, ...), pooled over their joints."""
        return {
            title: _weighted(self.per_joint[list(members)], self.counts[list(members)])
            for title, members in skeleton.groups.items()
        }


def _weighted(percent: Floats, counts: npt.NDArray[np.int64]) -> float:
    if not counts.any():
        return float("nan")
    return float(np.average(np.where(counts > 0, percent, 0.0), weights=counts))


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
        reference_length: (N,) pixels, such as `lsp_torso_length(target)`.

    Returns:
        (N, J) float64: NaN where the joint is not labelled, infinity where it is and has no finite
        prediction.

    Raises:
        InputError: Shapes disagree, a labelled target or a length is not finite.
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
    if not (np.isfinite(length) & (length >= 0)).all():
        raise InputError("reference_length must be finite and not negative for every person")
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.linalg.norm(predicted - target, axis=-1)
        share = np.where(distance == 0, 0.0, distance / length[:, None])
    return np.where(labelled, np.where(np.isfinite(share), share, np.inf), np.nan)


def pck(
    predicted: npt.ArrayLike,
    target: npt.ArrayLike,
    labelled: npt.ArrayLike,
    reference_length: npt.ArrayLike,
    threshold: float = 0.2,
) -> PCK:
    """Share of joints predicted within `threshold` reference lengths of the truth.

    The limit itself counts as correct (`<=`), as in the official evaluation. A labelled joint
    without a finite prediction counts as wrong.

    Args:
        predicted, target, labelled, reference_length: As in `normalized_distances`.
        threshold: Largest accepted distance.

    Raises:
        InputError: As in `normalized_distances`.
    """
    distances = normalized_distances(predicted, target, labelled, reference_length)
    counts = (~np.isnan(distances)).sum(0)
    correct = (distances <= threshold).sum(0)  # NaN compares false
    per_joint = np.where(counts > 0, 100.0 * correct / np.maximum(counts, 1), np.nan)
    return PCK(per_joint, counts.astype(np.int64), threshold)


def lsp_torso_length(target: npt.ArrayLike) -> Floats:
    """Reference length of LSP's PCK, (N,) pixels: |left shoulder - right hip| of the truth.

    One diagonal only, after Sapp and Taskar (CVPR 2013); not the mean of both, not neck-pelvis.
    """
    target = np.asarray(target, np.float64)
    if target.ndim != 3 or target.shape[1:] != (len(LSP), 2):
        raise InputError(f"target must have shape (N, {len(LSP)}, 2), got {target.shape}")
    diagonal = target[:, LSP.index("left_shoulder")] - target[:, LSP.index("right_hip")]
    return np.linalg.norm(diagonal, axis=-1)


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

    Raises:
        InputError: A joint is labelled nowhere.
    """
    joints, labelled = np.asarray(joints, np.float64), np.asarray(labelled, bool)
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    if not labelled.any(0).all():
        raise InputError("labelled must be true at least once for every joint to have a mean pose")
    relative = (joints - centers[:, None]) / sizes[:, None, None]
    return np.nanmean(np.where(labelled[..., None], relative, np.nan), axis=0)


def place_pose(pose: npt.ArrayLike, centers: npt.ArrayLike, sizes: npt.ArrayLike) -> Floats:
    """A relative pose (J, 2) put into every crop: (N, J, 2) pixels. Inverse of `mean_pose`."""
    centers, sizes = np.asarray(centers, np.float64), np.asarray(sizes, np.float64)
    return np.asarray(pose, np.float64)[None] * sizes[:, None, None] + centers[:, None]
