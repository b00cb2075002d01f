"""The scoring rules of a benchmark (joints, threshold, tables) and its scores (docs/evaluation.md)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.body_parts import BodyParts, part_distances
from softgate_ext.pose.metrics import (
    PCK,
    Floats,
    area_under_curve,
    joint_distance,
    normalized_distances,
    not_below,
    pck_of,
)
from softgate_ext.pose.oks import mean_similarity
from softgate_ext.pose.skeleton import Skeleton

FINE = 0.1  # the stricter threshold that is printed beside each benchmark's own
HALF = 0.5  # the threshold of PCP, in lengths of the part (Ferrari et al., CVPR 2008)
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5)  # the thresholds of PDJ, in diameters of the torso
PDJ = "PDJ@0.2"  # the PDJ that is printed


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one benchmark.

    Attributes:
        metric: name and threshold, such as "PCKh@0.5".
        skeleton: the joints of its annotations.
        threshold: the largest accepted distance in reference lengths; NaN for OKS.
        unit: a description of the reference length.
        reference: the source of the reference length: the name of a field of `PoseSet` with a box or
            the area, or the two joints whose distance it is.
        members: indices of the joints that enter the two means.
        digits: number of decimals in the published tables.
        sigmas: the sigma of each joint for OKS; None for PCK.
    """

    metric: str
    skeleton: Skeleton
    threshold: float
    unit: str
    reference: str | tuple[int, int]
    members: tuple[int, ...]
    digits: int
    sigmas: tuple[float, ...] | None = None

    @property
    def columns(self) -> dict[str, tuple[int, ...]]:
        """The columns of the published tables whose joints are all members."""
        groups = self.skeleton.groups.items()
        return {title: joints for title, joints in groups if set(joints) <= set(self.members)}

    def score(self, distances: Floats, visible: npt.ArrayLike | None = None) -> "Score":
        """The scores that follow from distances alone.

        Args:
            distances: (N, J), the result of `normalized_distances` for one predictor.
            visible: (N, J) bool, labelled and not occluded; None if that is not known.

        Raises:
            InputError: `visible` has another shape.
        """
        seen = None if visible is None else np.asarray(visible, bool)
        if seen is not None and seen.shape != distances.shape:
            raise InputError(f"visible must have shape {distances.shape}, got {seen.shape}")

        def of(shown: npt.NDArray[np.bool_] | bool = True) -> PCK:
            some = np.where(shown, distances, np.nan)
            if self.sigmas is not None:
                return mean_similarity(some, self.sigmas, self.members)
            return pck_of(some, self.threshold, self.members)

        parts: dict[str, PCK] = {}
        if self.sigmas is None:
            parts[f"@{FINE}"] = pck_of(distances, FINE, self.members)
            parts["AUC"] = area_under_curve(distances, self.threshold, self.members)
        if seen is not None:
            parts |= {"visible": of(seen), "hidden": of(~seen)}
        return Score(self, of(), parts)

    def right(self, distances: Floats) -> npt.NDArray[np.bool_]:
        """Whether each joint counts as right, (N, J) bool. For OKS its similarity must be at least 0.5.

        Args:
            distances: (N, J), the result of `normalized_distances`; NaN is not right.
        """
        limit: float | Floats = self.threshold
        if self.sigmas is not None:
            limit = 2 * np.asarray(self.sigmas) * math.sqrt(2 * math.log(2))
        return distances <= limit

    def score_joints(
        self,
        predicted: npt.ArrayLike,
        target: npt.ArrayLike,
        labelled: npt.ArrayLike,
        lengths: npt.ArrayLike,
        visible: npt.ArrayLike | None = None,
    ) -> "Score":
        """All scores of predicted joints: those of `score`, and with PCK also PCP and PDJ.

        Args:
            predicted, target, labelled, lengths: as in `normalized_distances`.
            visible: as in `score`.

        Raises:
            InputError: as in `normalized_distances`.
        """
        distances = normalized_distances(predicted, target, labelled, lengths)
        result = self.score(distances, visible)
        if self.sigmas is not None:
            return result
        parts = BodyParts.of(self.skeleton)
        pcp = {}
        for name, strict in (("PCP", True), ("PCP loose", False)) if parts.names else ():
            pcp[name] = pck_of(part_distances(predicted, target, labelled, parts, strict), HALF)
        pdj = {}
        ends = torso_of(self.skeleton)
        if ends is not None:
            # A sample whose torso is not labelled has no reference length and does not count.
            counted = np.array(labelled, bool)
            counted[~counted[:, ends].all(1)] = False
            torsos = joint_distance(target, ends)
            by_torso = normalized_distances(predicted, target, counted, torsos)
            pdj = {f"PDJ@{f}": pck_of(by_torso, f, self.members) for f in FRACTIONS}
        return dataclasses.replace(result, pcp=pcp, pdj=pdj)


@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of one predictor.

    Attributes:
        protocol: the rules.
        pck: PCK at the benchmark's own threshold; for OKS the similarity of the joints.
        parts: further scores by name. For PCK: the PCK at the threshold `FINE`, and the area under the
            curve up to the benchmark's own threshold. If occlusion is known: `visible` and `hidden`,
            the `pck` of the joints that are not occluded, and of those that are.
        precision: for OKS, the results of COCO's evaluation by name, in percent.
        pcp: percentage of correct parts, strict ("PCP") and loose ("PCP loose"), in the order of
            `BodyParts`; empty if the joints form no part.
        pdj: percentage of detected joints (Sapp and Taskar, CVPR 2013; Toshev and Szegedy, CVPR 2014)
            at each of `FRACTIONS` of the torso's diameter (see `torso_of`), over the samples whose
            torso is labelled; empty if the joints have no torso.
    """

    protocol: Protocol
    pck: PCK
    parts: dict[str, PCK]
    precision: dict[str, float] = dataclasses.field(default_factory=dict)
    pcp: dict[str, PCK] = dataclasses.field(default_factory=dict)
    pdj: dict[str, PCK] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> float:
        """The score to compare by, in percent: AP for OKS, else the weighted mean."""
        return self.precision.get("AP", self.pck.pooled)

    def totals(self) -> dict[str, float]:
        """The scores beside the two means, one number each, in percent."""
        printed = {name: self.pdj[name] for name in (PDJ,) if name in self.pdj}
        named = self.parts | printed | self.pcp
        return {name: part.pooled for name, part in named.items()} | self.precision

    def to_json(self) -> dict[str, Any]:
        """The scores as a dictionary for JSON.

        It has `per_joint` (the published columns), `mean`, `weighted_mean` and `joints`; the same
        entries for each of the `parts` and of `pdj`; for each of `pcp` the same for body parts, called
        `per_part` and `parts`; and the entries of `precision`. None stands for a score without labels.
        """
        skeleton = self.protocol.skeleton

        def figures(result: PCK) -> dict[str, Any]:
            return _figures(result, "joint", self.protocol.columns, skeleton.joints)

        by_joint = {name: figures(result) for name, result in (self.parts | self.pdj).items()}
        body = BodyParts.of(skeleton)
        by_part = {
            n: _figures(one, "part", body.columns, body.names) for n, one in self.pcp.items()
        }
        precision = {name: _number(value) for name, value in self.precision.items()}
        return {**figures(self.pck), **by_joint, **by_part, **precision}


def _figures(
    result: PCK, what: str, columns: Mapping[str, Sequence[int]], names: Sequence[str]
) -> dict[str, Any]:
    return {
        f"per_{what}": {t: _number(value) for t, value in result.grouped(columns).items()},
        "mean": _number(result.mean),
        "weighted_mean": _number(result.pooled),
        f"{what}s": {n: _number(value) for n, value in zip(names, result.per_joint, strict=True)},
    }


def _number(percentage: float) -> float | None:
    return None if np.isnan(percentage) else not_below(percentage)


def torso_of(skeleton: Skeleton) -> tuple[int, int] | None:
    """The joints of the torso's diagonal, left shoulder and right hip, or None if one is missing.

    This one diagonal is used by Sapp and Taskar (CVPR 2013); it is neither the mean of both diagonals
    nor the distance from neck to pelvis.
    """
    shoulder, hip = skeleton.find("left_shoulder"), skeleton.find("right_hip")
    return None if shoulder is None or hip is None else (shoulder, hip)
