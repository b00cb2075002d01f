"""The learning rate, and the time budget of a training."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgate_ext.training.schedule import Budget, learning_rate_factor

share = st.floats(0, 1)
SCHEDULES = ["cosine", "step", "paper"]


@given(share, st.sampled_from(SCHEDULES), st.floats(0, 0.5))
def test_the_factor_stays_between_0_and_1(progress: float, schedule: str, warmup: float) -> None:
    assert 0 <= learning_rate_factor(progress, schedule, warmup) <= 1  # type: ignore[arg-type]


@given(share, share, st.sampled_from(SCHEDULES))
def test_without_warmup_it_never_rises(a: float, b: float, schedule: str) -> None:
    early, late = sorted((a, b))
    first = learning_rate_factor(early, schedule)  # type: ignore[arg-type]
    assert learning_rate_factor(late, schedule) <= first  # type: ignore[arg-type]


def test_values() -> None:
    assert learning_rate_factor(0.0, "cosine") == 1.0
    assert learning_rate_factor(0.5, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(1.0, "cosine") == pytest.approx(0.0)
    assert learning_rate_factor(0.05, "step", warmup=0.1) == pytest.approx(0.5)
    assert learning_rate_factor(0.7, "step", warmup=0.1) == pytest.approx(0.1)
    assert learning_rate_factor(0.9, "step", warmup=0.1) == pytest.approx(0.01)


def test_the_paper_falls_from_25e_5_to_1e_5_at_epochs_75_100_and_150_of_200() -> None:
    rates = [2.5e-4 * learning_rate_factor(epoch / 200, "paper") for epoch in range(200)]
    drops = [epoch for epoch in range(1, 200) if rates[epoch] < rates[epoch - 1]]
    assert drops == [75, 100, 150]
    assert rates[0] == 2.5e-4 and rates[-1] == pytest.approx(1e-5)
    factors = [rates[epoch] / rates[epoch - 1] for epoch in drops]
    assert factors == [pytest.approx(0.342, abs=1e-3)] * 3


def test_a_budget_of_epochs_ends_with_its_last_step() -> None:
    budget = Budget(3, None, steps_per_epoch=5)
    assert budget.progress(0) == 0
    assert budget.progress(14) < 1
    assert budget.progress(15) == 1
    assert budget.remaining(10, 2.0) == pytest.approx(10.0)


def test_a_budget_of_minutes_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(None, 2.0, steps_per_epoch=5, elapsed=30.0)
    assert budget.progress(10**6) == pytest.approx(0.25)
    now += 60.0
    assert budget.progress(0) == pytest.approx(0.75)
    assert budget.remaining(0, 1.0) == pytest.approx(30.0)
    now += 60.0
    assert budget.progress(0) == 1


def test_the_shorter_of_two_lengths_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(2, 1.0, steps_per_epoch=10)
    assert budget.progress(20) == 1
    now = 60.0
    assert budget.progress(1) == 1


def test_without_a_length_it_is_a_hundred_epochs() -> None:
    assert Budget(None, None, 4).steps == 400
    assert Budget(None, None, 4, schedule="paper").steps == 800
