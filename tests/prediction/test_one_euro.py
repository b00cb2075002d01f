"""The One-Euro filter: less jitter at rest, little lag in motion, at any resolution and frame rate."""

import numpy as np
import pytest

from softgate_ext.prediction.one_euro import OneEuro

RATE, JOINTS, SIZE = 30, 16, 300.0
STEADY = np.arange(300) / RATE
PHONE = np.sort(np.random.default_rng(1).uniform(0, 10, 300))  # gaps from 0 to a fifth of a second


def path(times: np.ndarray, reach: float, hertz: float) -> np.ndarray:
    """(T, J, 2): joints that swing by `reach` sizes of the person, to the side and half as far up."""
    swing = reach * SIZE * np.sin(2 * np.pi * hertz * times)
    return np.repeat(np.stack([swing, swing / 2], -1)[:, None], JOINTS, 1) + 100


def noise(share: float = 0.01) -> np.ndarray:
    return np.random.default_rng(0).normal(0, share * SIZE, (300, JOINTS, 2))


def smooth(points: np.ndarray, times: np.ndarray, size: float = SIZE) -> np.ndarray:
    one_euro, seen = OneEuro(points.shape[1]), np.ones(points.shape[1], bool)
    return np.stack([one_euro(p, seen, t, size) for p, t in zip(points, times, strict=True)])


def error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean square root of the distance after the first second."""
    return float(np.sqrt(((found - true)[RATE:] ** 2).sum(-1).mean()))


@pytest.mark.parametrize("times", [STEADY, PHONE], ids=["steady", "phone"])
@pytest.mark.parametrize(
    ("reach", "hertz", "left"),
    [(0, 0, 0.55), (0.05, 0.4, 0.75), (0.1, 0.5, 0.95)],
    ids=["still", "slow", "walking"],
)
def test_the_error_is_less_than_raw(
    times: np.ndarray, reach: float, hertz: float, left: float
) -> None:
    true = path(times, reach, hertz)
    raw = true + noise()
    assert error(smooth(raw, times), true) < left * error(raw, true)


def test_the_lag_is_short_and_shorter_where_it_is_quick() -> None:
    """Against the path without noise: delay of the best match, seconds."""
    lags = []
    for reach, hertz in ((0.05, 0.4), (0.1, 1.0), (0.35, 1.5)):
        true = path(STEADY, reach, hertz)
        seen = smooth(true, STEADY)[RATE:, 0, 0]
        delays = np.arange(0, 0.3, 0.002)
        later = [np.interp(STEADY[RATE:] - delay, STEADY, true[:, 0, 0]) for delay in delays]
        lags.append(delays[np.argmin([((one - seen) ** 2).sum() for one in later])])
    assert lags == sorted(lags, reverse=True)
    assert lags[0] < 0.06 and lags[1] < 0.03 and lags[2] < 0.015


def test_the_resolution_does_not_matter() -> None:
    raw = path(STEADY, 0.1, 1.0) + noise()
    np.testing.assert_allclose(smooth(4 * raw, STEADY, 4 * SIZE), 4 * smooth(raw, STEADY))


def test_a_gap_in_time_counts_as_such() -> None:
    """What was seen long ago weighs less than what was seen just now."""
    jumped = []
    for gap in (1 / 30, 0.5, 5.0):
        still = np.zeros((40, 1, 2))
        still[-1] = 0.01 * SIZE
        times = np.append(np.arange(39) / 30, 38 / 30 + gap)
        jumped.append(smooth(still, times)[-1, 0, 0] / (0.01 * SIZE))
    assert jumped[0] < 0.3 and 0.6 < jumped[1] < 0.95 < jumped[2] <= 1


def test_a_joint_that_vanishes_leaves_no_trace() -> None:
    """Whether it has no place or a low score; it goes on from where it was seen last."""
    true = path(STEADY, 0.05, 0.4)
    raw = true + noise()
    clean = smooth(raw, STEADY)
    for nothing in (np.nan, np.inf, 1e9):
        one_euro, found = OneEuro(JOINTS), []
        for number, (points, seconds) in enumerate(zip(raw, STEADY, strict=True)):
            points, seen = points.copy(), np.ones(JOINTS, bool)
            if 100 <= number < 120:
                points[3] = nothing
                seen[3] = not np.isfinite(nothing)  # a number is told to be none by its score
            found.append(one_euro(points, seen, seconds, SIZE))
        after = np.stack(found)
        np.testing.assert_array_equal(after[100:120, 3], np.full((20, 2), nothing))
        np.testing.assert_array_equal(np.delete(after, 3, 1), np.delete(clean, 3, 1))
        assert np.isfinite(after[120:]).all()
        assert error(after[120:, 3:4], true[120:, 3:4]) < 0.75 * error(raw[120:], true[120:])


def test_frames_of_one_time_or_of_an_earlier_one() -> None:
    times = np.array([0.0, 0.1, 0.1, 0.05, 0.2])
    found = smooth(np.full((5, 2, 2), 50.0) + np.arange(5)[:, None, None], times)
    assert np.isfinite(found).all() and (found >= 50).all() and (found <= 54).all()
