"""The One-Euro filter: jitter goes where a point rests, and lag where it moves."""

import numpy as np
import numpy.typing as npt

REST = 1.0  # Hz: cutoff frequency of a joint at rest
SHARE = 12.0  # Hz more where a joint moves by the size of the person in a second
SPEED = 1.0  # Hz: cutoff frequency of the speed itself
SOONEST = 1e-3  # seconds between two frames, at least: some files give two the same time


class OneEuro:
    """Joints of one person, each filtered by itself (Casiez, Roussel, Vogel, CHI 2012).

    A low pass whose cutoff frequency grows with the speed, at times that need not be evenly
    spaced. Speeds count in sizes of the person, so that it does the same at any resolution.
    """

    def __init__(self, joints: int) -> None:
        self._points = np.full((joints, 2), np.nan)
        self._speeds = np.zeros((joints, 2))
        self._seconds = np.full((joints, 1), np.nan)

    def __call__(
        self,
        points: npt.NDArray[np.float64],
        seen: npt.NDArray[np.bool_],
        seconds: float,
        size: float,
    ) -> npt.NDArray[np.float64]:
        """The joints, filtered; those that are not seen as they come, without a trace.

        Args:
            points: (J, 2), pixels.
            seen: (J,), which of them to trust; those that are no numbers never are.
            seconds: time of the frame.
            size: longer side of the person, pixels.
        """
        seen = (seen & np.isfinite(points).all(1))[:, None]
        first = seen & np.isnan(self._seconds)
        later = seen & ~first
        passed = np.maximum(seconds - self._seconds, SOONEST)
        moved = np.where(later, points - self._points, 0)
        speeds = self._speeds + _weight(SPEED, passed) * (moved / passed - self._speeds)
        fastest = REST + SHARE * np.linalg.norm(speeds, axis=1, keepdims=True) / size
        smooth = self._points + _weight(fastest, passed) * moved
        self._speeds = np.where(later, speeds, self._speeds)
        self._points = np.where(later, smooth, np.where(first, points, self._points))
        self._seconds = np.where(seen, seconds, self._seconds)
        return np.where(seen, self._points, points)


def _weight(cutoff: npt.ArrayLike, passed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of what is new that a low pass of first order lets through after this time."""
    turned = 2 * np.pi * np.asarray(cutoff) * passed
    return turned / (1 + turned)
