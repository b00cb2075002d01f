"""The calibration that turns the peak of a heatmap into the probability that the joint is right."""

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
        slope: not negative, so that a higher peak never gives a lower probability.
        offset: the logarithm of the odds at a peak of zero.
    """

    slope: float
    offset: float

    @classmethod
    def fitted(cls, peaks: npt.ArrayLike, right: npt.ArrayLike) -> "Calibration":
        """The calibration with the highest likelihood.

        Args:
            peaks: (N,), the peaks of heatmaps.
            right: (N,) bool, whether each joint was right. All or none may be right, because Platt's
                targets lie a little inside of 0 and 1.
        """
        from scipy.optimize import minimize  # imported here, because prediction must not need SciPy

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
        """The calibration in the header of weights, or None if there is none or it is not valid."""
        try:
            slope, offset = (float(value) for value in stored)
        except (TypeError, ValueError):
            return None
        return cls(slope, offset) if slope >= 0 and np.isfinite((slope, offset)).all() else None

    def to_json(self) -> list[float]:
        """The list of slope and offset."""
        return [self.slope, self.offset]

    def __call__(self, peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The probabilities, float32, in the shape of `peaks`."""
        return _logistic(self.slope * peaks.astype(np.float64) + self.offset).astype(np.float32)


def _logistic(logit: Floats) -> Floats:
    return 0.5 + 0.5 * np.tanh(0.5 * logit)  # never overflows
