"""How each benchmark is scored: which joints, which threshold, which tables (docs/evaluation.md)."""

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

FINE = 0.1  # the stricter threshold printed beside each benchmark's own
HALF = 0.5  # the share of a part's length that PCP goes by (Ferrari et al., CVPR 2008)
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the torso's diameter, at which PDJ is told
PDJ = "PDJ@0.2"  # the one that is printed


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one benchmark.

    Attributes:
        metric: Name and threshold, such as "PCKh@0.5".
        skeleton: Joints of its annotations.
        threshold: Largest accepted distance as a share of the reference length; NaN of OKS.
        unit: The reference length in words.
        reference: What of a person the reference length is: one of the boxes or the area, by the
            name that it has in a pose set, or the two joints that it lies between.
        members: Indices of the joints that enter the two means.
        digits: Decimals that its published tables print.
        sigmas: Of OKS, a number for each joint; None of PCK.
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
        """Columns of the published tables that consist of members."""
        groups = self.skeleton.groups.items()
        return {title: joints for title, joints in groups if set(joints) <= set(self.members)}

    def score(self, distances: Floats, visible: npt.ArrayLike | None = None) -> "Score":
        """All figures from the (N, J) result of `normalized_distances`.

        Args:
            distances: One predictor's.
            visible: (N, J) bool, labelled and not occluded, or None where that is not known.
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
        """(N, J), whether a joint counts as found; of OKS where its similarity is a half or more.

        Args:
            distances: (N, J) of `normalized_distances`; NaN is no distance, and not right.
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
        """All figures from joints: those of `score`, and beside PCK also PCP and PDJ.

        Args:
            predicted, target, labelled, lengths: As in `normalized_distances`.
            visible: As in `score`.

        Raises:
            InputError: As `normalized_distances`.
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
            # Nobody's torso is known by the labels of another, hence people without do not count.
            counted = np.array(labelled, bool)
            counted[~counted[:, ends].all(1)] = False
            torsos = joint_distance(target, ends)
            by_torso = normalized_distances(predicted, target, counted, torsos)
            pdj = {f"PDJ@{f}": pck_of(by_torso, f, self.members) for f in FRACTIONS}
        return dataclasses.replace(result, pcp=pcp, pdj=pdj)


@dataclasses.dataclass(frozen=True)
class Score:
    """The figures of one predictor.

    Attributes:
        protocol: The rules.
        pck: At the benchmark's own threshold; of OKS the similarity of the joints.
        parts: The figures beside it, by name: of PCK at the threshold `FINE` and the area under
            the curve up to the benchmark's own; `visible` and `hidden`, `pck` of the joints that
            are not occluded and of the others that are labelled, where that is known.
        precision: Of OKS, COCO's figures by their names, percent.
        pcp: Percentage of correct parts, strict ("PCP") and loose ("PCP loose"), in the order of
            `BodyParts`; empty where the joints make up no part.
        pdj: Percentage of detected joints (Sapp and Taskar, CVPR 2013; Toshev and Szegedy, CVPR
            2014) at each of `FRACTIONS` of the torso's diameter, that of `torso_of`; of the people
            who have it labelled. Empty where the joints have no torso.
    """

    protocol: Protocol
    pck: PCK
    parts: dict[str, PCK]
    precision: dict[str, float] = dataclasses.field(default_factory=dict)
    pcp: dict[str, PCK] = dataclasses.field(default_factory=dict)
    pdj: dict[str, PCK] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> float:
        """The one figure to compare by, percent: AP of OKS, else the weighted mean."""
        return self.precision.get("AP", self.pck.pooled)

    def totals(self) -> dict[str, float]:
        """The figures beside the two means, one number each."""
        printed = {name: self.pdj[name] for name in (PDJ,) if name in self.pdj}
        named = self.parts | printed | self.pcp
        return {name: part.pooled for name, part in named.items()} | self.precision

    def to_json(self) -> dict[str, Any]:
        """`per_joint` (the published columns), `mean`, `weighted_mean`, `joints`; then the same of
        each of the `parts` and of `pdj`; of `pcp` the same of body parts, called `per_part` and
        `parts`; and `precision`. None stands for what nobody has labelled."""
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
    """The joints at the ends of the torso's diagonal, left shoulder and right hip, if it has both.

    One diagonal only, after Sapp and Taskar (CVPR 2013); not the mean of both, not neck-pelvis.
    """
    shoulder, hip = skeleton.find("left_shoulder"), skeleton.find("right_hip")
    return None if shoulder is None or hip is None else (shoulder, hip)
