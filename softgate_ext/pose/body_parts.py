"""The body parts of the metric PCP, and the distances of predicted parts from the ground truth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import Floats, normalized_distances
from softgate_ext.pose.skeleton import Skeleton

_SIDES = ("right", "left")
_LIMBS = (
    ("U.leg", "hip", "knee"),
    ("L.leg", "knee", "ankle"),
    ("U.arm", "shoulder", "elbow"),
    ("L.arm", "elbow", "wrist"),
)


@dataclass(frozen=True)
class BodyParts:
    """The body parts of a skeleton, out of the ten whose PCP is published for LSP.

    These are the torso (from the midpoint of the hips to the midpoint of the shoulders), the upper
    and lower legs and arms, and the head (neck to head top). They are the sticks of Eichner and
    Ferrari, made of joints as in the evaluation of Pishchulin et al., CVPR 2013.

    Attributes:
        names: names of the parts, such as "torso" and "right_hip-knee".
        ends: for each part and each of its two ends, the joints whose mean is that end.
        columns: for each title of the published tables, the indices of its parts.
    """

    names: tuple[str, ...]
    ends: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    columns: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, skeleton: Skeleton) -> "BodyParts":
        """The parts whose joints the skeleton has, found by their names. There may be none."""
        hips, shoulders = ([f"{side}_{j}" for side in _SIDES] for j in ("hip", "shoulder"))
        neck = "neck" if skeleton.find("neck") is not None else "upper_neck"
        wanted = [("Torso", "torso", hips, shoulders)]
        for title, upper, lower in _LIMBS:
            for side in _SIDES:
                joints = [f"{side}_{upper}"], [f"{side}_{lower}"]
                wanted.append((title, f"{side}_{upper}-{lower}", *joints))
        wanted.append(("Head", "head", [neck], ["head_top"]))
        names: list[str] = []
        ends: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        columns: dict[str, tuple[int, ...]] = {}
        for title, name, *both in wanted:
            start, end = (tuple(map(skeleton.find, joints)) for joints in both)
            known = [tuple(j for j in some if j is not None) for some in (start, end)]
            if known == [start, end]:
                columns[title] = (*columns.get(title, ()), len(names))
                names.append(name)
                ends.append((known[0], known[1]))
        return cls(tuple(names), tuple(ends), columns)


def part_distances(
    predicted: npt.ArrayLike,
    target: npt.ArrayLike,
    labelled: npt.ArrayLike,
    parts: BodyParts,
    strict: bool = True,
) -> Floats:
    """The distance of each predicted part from its ground truth, in lengths of the true part.

    A part is correct if this is at most 0.5 (Ferrari, Marin-Jimenez and Zisserman, CVPR 2008). By the
    strict rule, both ends must be within that limit, so the distance is that of the worse end. The
    text of that paper, DeepPose and the LSP tables use the strict rule. By the loose rule, which the
    evaluation code of Eichner and Ferrari (Buffy Stickmen) uses, it is the mean over both ends.
    Pishchulin et al., CVPR 2012, describe both.

    Args:
        predicted: (N, J, 2), in pixels; NaN for a missing prediction.
        target: (N, J, 2), in pixels.
        labelled: (N, J) bool.
        parts: P parts of these joints.
        strict: whether to use the strict rule.

    Returns:
        (N, P) float64. NaN if a joint of the part is not labelled. Infinity if a prediction is not
        finite, or if the true part has length 0 and is not hit exactly.

    Raises:
        InputError: the shapes disagree, or a labelled target is not finite.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    labelled = np.asarray(labelled, bool)
    if target.ndim != 3 or predicted.shape != target.shape or labelled.shape != target.shape[:2]:
        raise InputError(
            "predicted, target and labelled must have shapes (N, J, 2), (N, J, 2) and (N, J), got "
            f"{predicted.shape}, {target.shape} and {labelled.shape}"
        )
    found = np.empty((len(target), len(parts.names)))
    for place, ends in enumerate(parts.ends):
        there, true = (
            np.stack([joints[:, list(end)].mean(1) for end in ends], 1)
            for joints in (predicted, target)
        )
        known = labelled[:, [joint for end in ends for joint in end]].all(1)
        length = np.linalg.norm(true[:, 0] - true[:, 1], axis=-1)
        both = normalized_distances(there, true, np.stack([known, known], 1), length)
        found[:, place] = both.max(1) if strict else both.mean(1)
    return found
