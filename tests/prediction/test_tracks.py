"""The tracks of people from frame to frame."""

from collections.abc import Sequence

import numpy as np
import pytest

from softgate_ext.prediction.person import Box, Person
from softgate_ext.prediction.tracks import GONE, Tracks

LEFT, RIGHT = (0.0, 0.0, 40.0, 100.0), (200.0, 0.0, 40.0, 100.0)


def person(
    box: Box, joints: Sequence[tuple[float, float]] = ((5, 5),), shown: bool = True
) -> Person:
    names = tuple(f"joint{n}" for n in range(len(joints)))
    scores = np.ones(len(names), np.float32)
    return Person(box, np.array(joints, float), scores, names, np.full(len(names), shown))


def numbers(tracks: Tracks, boxes: Sequence[Box], seconds: float) -> list[int | None]:
    people = [person(box) for box in boxes]
    followed = tracks.follow(people, seconds)
    assert [one.box for one in followed] == list(boxes)
    return [one.track for one in followed]


def moved(box: Box, by: float) -> Box:
    return (box[0] + by, *box[1:])


def test_people_keep_their_numbers_in_whatever_order_they_are_found() -> None:
    tracks = Tracks(False)
    assert numbers(tracks, [LEFT, RIGHT], 0.0) == [0, 1]
    assert numbers(tracks, [moved(RIGHT, -9), moved(LEFT, 9)], 0.1) == [1, 0]
    assert numbers(tracks, [(90.0, 0.0, 30.0, 30.0), moved(LEFT, 18)], 0.2) == [2, 0]
    assert numbers(tracks, [], 0.3) == []
    assert numbers(tracks, [moved(RIGHT, -9)], 0.4) == [1]


def test_the_best_overlap_of_all_together_counts() -> None:
    """Not that of whoever comes first: both overlap the first box, one of them alone the second."""
    tracks = Tracks(False)
    assert numbers(tracks, [LEFT, moved(LEFT, 20)], 0.0) == [0, 1]
    assert numbers(tracks, [moved(LEFT, 12), moved(LEFT, -8)], 0.1) == [1, 0]


def test_a_track_ends_when_nobody_was_seen_for_a_time() -> None:
    for absent, number in ((GONE - 0.1, 0), (GONE + 0.1, 1)):
        tracks = Tracks(False)
        assert numbers(tracks, [LEFT], 5.0) == [0]
        assert numbers(tracks, [], 5.0 + absent) == []
        assert numbers(tracks, [LEFT], 5.1 + absent) == [number]


def test_half_a_frame_a_second_is_no_absence() -> None:
    tracks = Tracks(False)
    assert [numbers(tracks, [LEFT], 2.0 * n) for n in range(3)] == [[0], [0], [0]]


def test_joints_are_smoothed_by_track_and_only_where_it_is_asked_for() -> None:
    random = np.random.default_rng(0)
    for smooth in (False, True):
        tracks = Tracks(smooth)
        found: dict[int | None, list[np.ndarray]] = {0: [], 1: []}
        raw: list[np.ndarray] = []
        for n in range(90):
            jitter = random.normal(0, 1, 2)
            raw.append(jitter)
            left, right = (person(b, [jitter + b[0]]) for b in (LEFT, RIGHT))
            for one in tracks.follow([left, right] if n % 2 == 0 else [right, left], n / 30):
                found[one.track].append(one.joints[0])
        for track, start in ((0, LEFT[0]), (1, RIGHT[0])):
            spread = np.std(np.array(found[track][30:]) - start) / np.std(raw[30:])
            assert spread < 0.6 if smooth else spread == pytest.approx(1)


def test_a_joint_that_is_not_shown_stays_as_it_is() -> None:
    tracks = Tracks(True)
    tracks.follow([person(LEFT, [(5, 5)])], 0.0)
    (unsure,) = tracks.follow([person(LEFT, [(80, 80)], shown=False)], 0.1)
    assert unsure.joints.tolist() == [[80, 80]]
    (sure,) = tracks.follow([person(LEFT, [(5, 5)])], 0.2)
    assert sure.joints.tolist() == [[5, 5]]
