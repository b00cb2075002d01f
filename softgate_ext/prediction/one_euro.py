"""The One-Euro filter, which removes jitter from points at rest without lag for points that move."""

import numpy as np
import numpy.typing as npt

REST = 1.0  # Hz: the cutoff frequency of a joint at rest
SHARE = 12.0  # Hz: added to the cutoff of a joint that moves by the size of the person per second
SPEED = 1.0  # Hz: the cutoff frequency of the speed itself
SOONEST = 1e-3  # seconds: the least time between two frames, since some files repeat a time


class OneEuro:
    """The One-Euro filter of each joint of one person (Casiez, Roussel and Vogel, CHI 2012).

    It is a low-pass filter whose cutoff frequency grows with the speed. The frames need not be evenly
    spaced in time. Speeds are measured in sizes of the person, so that the result does not depend on
    the resolution.

    Args:
        joints: number of joints J.
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
        """Filters the joints of the next frame.

        Args:
            points: (J, 2), in pixels.
            seen: (J,), whether to filter each joint. Other joints, and those that are not finite, are
                returned unchanged and do not change the state of the filter.
            seconds: time of the frame.
            size: longer side of the person's box, in pixels.

        Returns:
            (J, 2), in pixels.
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
    """The weight of a new value in a first-order low-pass filter, after `passed` seconds."""
    turned = 2 * np.pi * np.asarray(cutoff) * passed
    return turned / (1 + turned)
