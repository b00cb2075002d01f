"""How each benchmark is scored: which joints, which threshold, which tables (docs/evaluation.md)."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import PCK, Floats, area_under_curve, not_below, pck_of
from softgate_ext.pose.skeleton import FLIC, LSP, MPII, Skeleton

FINE = 0.1  # the stricter threshold printed beside each benchmark's own


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one benchmark.

    Attributes:
        metric: Name and threshold, such as "PCKh@0.5".
        skeleton: Joints of its annotations.
        threshold: Largest accepted distance as a share of the reference length.
        unit: The reference length in words.
        members: Indices of the joints that enter the two means.
        digits: Decimals that its published tables print.
    """

    metric: str
    skeleton: Skeleton
    threshold: float
    unit: str
    members: tuple[int, ...]
    digits: int

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

        def at(threshold: float, shown: npt.NDArray[np.bool_] | bool = True) -> PCK:
            return pck_of(np.where(shown, distances, np.nan), threshold, self.members)

        return Score(
            self,
            at(self.threshold),
            at(FINE),
            area_under_curve(distances, self.threshold, self.members),
            None if seen is None else at(self.threshold, seen),
            None if seen is None else at(self.threshold, ~seen),
        )


@dataclasses.dataclass(frozen=True)
class Score:
    """The figures of one predictor.

    Attributes:
        protocol: The rules.
        pck: At the benchmark's own threshold.
        fine: At `FINE`.
        auc: Area under the curve up to the benchmark's own threshold.
        visible: `pck` of the joints that are not occluded, where that is known.
        hidden: `pck` of the others that are labelled.
    """

    protocol: Protocol
    pck: PCK
    fine: PCK
    auc: PCK
    visible: PCK | None
    hidden: PCK | None

    def parts(self) -> dict[str, PCK]:
        """The figures beside the main one, by name."""
        parts = {f"@{FINE}": self.fine, "AUC": self.auc}
        parts |= {"visible": self.visible} if self.visible else {}
        return parts | ({"hidden": self.hidden} if self.hidden else {})

    def to_json(self) -> dict[str, Any]:
        """`per_joint` (the published columns), `mean`, `weighted_mean`, `joints`; then the same of
        each of the `parts`. None stands for joints that nobody has labelled."""
        parts = {name: self._figures(result) for name, result in self.parts().items()}
        return {**self._figures(self.pck), **parts}

    def _figures(self, result: PCK) -> dict[str, Any]:
        joints = zip(self.protocol.skeleton.joints, result.per_joint, strict=True)
        return {
            "per_joint": {
                title: _number(value)
                for title, value in result.grouped(self.protocol.columns).items()
            },
            "mean": _number(result.mean),
            "weighted_mean": _number(result.pooled),
            "joints": {name: _number(value) for name, value in joints},
        }


def _number(percentage: float) -> float | None:
    return None if np.isnan(percentage) else not_below(percentage)


def torso_pck(skeleton: Skeleton) -> Protocol:
    """PCK@0.2 by the torso's diagonal over all joints: LSP's rules, for any joints that allow it.

    Raises:
        InputError: The joints do not include the ends of that diagonal.
    """
    if not {"left_shoulder", "right_hip"} <= set(skeleton.joints):
        raise InputError(
            f"data must have a left_shoulder and a right_hip to be measured, got the joints of "
            f"{skeleton.name}"
        )
    unit = "distance from left shoulder to right hip"
    return Protocol("PCK@0.2", skeleton, 0.2, unit, tuple(range(len(skeleton))), 1)


# Pelvis and thorax are annotated but do not count.
_counted = tuple(i for i, name in enumerate(MPII.joints) if name not in ("pelvis", "thorax"))
_arms = tuple(i for i, name in enumerate(FLIC.joints) if name.endswith(("elbow", "wrist")))

PCKH = Protocol("PCKh@0.5", MPII, 0.5, "0.6 x diagonal of the head box", _counted, 2)
LSP_PCK = torso_pck(LSP)
FLIC_PCK = Protocol("PCK@0.2", FLIC, 0.2, "diagonal of the torso box", _arms, 1)
