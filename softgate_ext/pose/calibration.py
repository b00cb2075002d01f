"""From the peak of a heatmap to the probability that the joint is right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softgate_ext.pose.metrics import Floats


@dataclass(frozen=True)
class Calibration:
    """Platt scaling (Platt, "Probabilistic outputs for support vector machines", 1999).

    The probability is 1 / (1 + exp(-(slope * peak + offset))).

    Attributes:
        slope: not negative, so that a surer joint never becomes a less sure one.
        offset: the logarithm of the odds at a peak of zero.
    """

    slope: float
    offset: float

    @classmethod
    def fitted(cls, peaks: npt.ArrayLike, right: npt.ArrayLike) -> "Calibration":
        """The calibration that makes the outcomes likeliest.

        Args:
            peaks: (N,) peaks of heatmaps.
            right: (N,) bool, whether the joint was right. With Platt's targets, which lie a little
                inside of 0 and 1, it may be all or none of them.
        """
        from scipy.optimize import minimize  # who predicts needs no SciPy

        peaks, right = np.asarray(peaks, np.float64), np.asarray(right, bool)
        targets = np.where(right, right.sum() + 1, 1) / np.where(
            right, right.sum() + 2, (~right).sum() + 2
        )

        def loss(pair: Floats) -> tuple[float, Floats]:
            logit = pair[0] * peaks + pair[1]
            error = _logistic(logit) - targets
            value = np.logaddexp(0, logit) - targets * logit
            return float(value.sum()), np.array([error @ peaks, error.sum()])

        found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=((0, None), (None, None)))
        return cls(*(round(float(value), 4) for value in found.x))

    @classmethod
    def from_json(cls, stored: Any) -> "Calibration | None":
        """That of the header of weights; None where they have none, or one that cannot be."""
        try:
            slope, offset = (float(value) for value in stored)
        except (TypeError, ValueError):
            return None
        return cls(slope, offset) if slope >= 0 and np.isfinite((slope, offset)).all() else None

    def to_json(self) -> list[float]:
        """Slope and offset."""
        return [self.slope, self.offset]

    def __call__(self, peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of the shape of `peaks`."""
        return _logistic(self.slope * peaks.astype(np.float64) + self.offset).astype(np.float32)


def _logistic(logit: Floats) -> Floats:
    return 0.5 + 0.5 * np.tanh(0.5 * logit)  # never overflows
