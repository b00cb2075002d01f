"""Tracking of people from frame to frame by the overlap of their boxes, with optional smoothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from softgate_ext.pose.metrics import box_overlaps
from softgate_ext.prediction.one_euro import OneEuro
from softgate_ext.prediction.person import Box, Person

OVERLAP = 0.3  # boxes of one person in two frames have at least this intersection over union
GONE = 1.0  # seconds that a person may be missing without losing the track


@dataclass(eq=False)
class _Track:
    number: int
    smooth: OneEuro
    box: Box
    seconds: float


class Tracks:
    """Gives the people of a video numbers that stay the same from frame to frame.

    Args:
        smooth: whether to pass the joints through a One-Euro filter.
    """

    def __init__(self, smooth: bool) -> None:
        self._smooth = smooth
        self._tracks: list[_Track] = []
        self._count = 0

    def follow(self, people: Sequence[Person], seconds: float) -> list[Person]:
        """Assigns the people of the next frame to tracks.

        Args:
            people: the people of the frame, without tracks.
            seconds: time of the frame.

        Returns:
            The same people with the numbers of their tracks, and with filtered joints if `smooth`.
        """
        overlaps = box_overlaps(
            _corners([one.box for one in people]), _corners([t.box for t in self._tracks])
        )
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        known = {i: self._tracks[j] for i, j in pairs if overlaps[i, j] >= OVERLAP}
        self._tracks = [
            track
            for track in self._tracks
            if track in known.values() or seconds - track.seconds <= GONE
        ]
        return [
            self._next(known.get(index), person, seconds) for index, person in enumerate(people)
        ]

    def _next(self, track: _Track | None, person: Person, seconds: float) -> Person:
        if track is None:
            track = _Track(self._count, OneEuro(len(person.names)), person.box, seconds)
            self._tracks.append(track)
            self._count += 1
        track.box, track.seconds = person.box, seconds
        if self._smooth:
            every = np.ones(len(person.names), bool)
            sure = every if person.shown is None else person.shown
            joints = track.smooth(person.joints, sure, seconds, max(person.box[2:]))
            person = replace(person, joints=joints)
        return replace(person, track=track.number)


def _corners(boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
    """Boxes x, y, width, height as an array (N, 4) of x1, y1, x2, y2."""
    given = np.reshape(np.asarray(boxes, np.float64), (-1, 4))
    return np.hstack([given[:, :2], given[:, :2] + given[:, 2:]])
