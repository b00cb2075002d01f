"""Probabilities from the peaks of heatmaps."""

import numpy as np
import pytest

from softgate_ext.pose.calibration import Calibration


def test_it_finds_the_probabilities_that_outcomes_were_drawn_from() -> None:
    random = np.random.default_rng(0)
    peaks = random.uniform(0, 1, 20_000)
    true = Calibration(7.0, -2.0)
    found = Calibration.fitted(peaks, random.random(peaks.size) < true(peaks))
    assert found.slope == pytest.approx(7, rel=0.05) and found.offset == pytest.approx(-2, rel=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_all_or_none_are_right(right: bool) -> None:
    found = Calibration.fitted(np.linspace(0.2, 0.9, 30), np.full(30, right))
    assert (found(np.float32([0.5])) > 0.9) == right


def test_a_surer_joint_never_becomes_a_less_sure_one() -> None:
    peaks = np.linspace(0, 1, 100)
    assert Calibration.fitted(peaks, peaks < 0.5).slope == 0


@pytest.mark.parametrize("stored", [None, 3, [1], ["a", 2], [-1, 0], [float("nan"), 0], [1, 2, 3]])
def test_what_is_no_calibration_is_none(stored: object) -> None:
    assert Calibration.from_json(stored) is None


def test_it_comes_back_from_json() -> None:
    assert Calibration.from_json(Calibration(2.5, -1.0).to_json()) == Calibration(2.5, -1.0)
