"""The order in which a training uses the people."""

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgate_ext.inference.interrupts import ctrl_c_waits
from softgate_ext.training.order import EpochBatches

counts = st.integers(1, 60)


@given(counts, st.integers(1, 20), st.integers(1, 5), st.integers(0, 3))
def test_every_person_comes_once_an_epoch(count: int, size: int, ranks: int, epoch: int) -> None:
    orders = [EpochBatches(count, size, 0, rank, ranks) for rank in range(ranks)]
    for order in orders:
        order.epoch = epoch
    steps = list(zip(*orders, strict=True))
    assert len(steps) == len(orders[0])
    shares = [share for step in steps for share in step]
    assert sorted(i for share in shares for i in share) == list(range(count))
    assert orders[0].smallest == min(map(len, shares))
    sizes = [sum(map(len, step)) for step in steps]
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
    for step in steps:
        assert max(map(len, step)) - min(map(len, step)) <= 1


@given(counts, st.integers(1, 20), st.integers(2, 5))
def test_processes_share_the_batches_of_one(count: int, size: int, ranks: int) -> None:
    alone = EpochBatches(count, size, 7)
    shares = zip(*(EpochBatches(count, size, 7, rank, ranks) for rank in range(ranks)), strict=True)
    assert [sum(step, []) for step in shares] == list(alone)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = EpochBatches(50, 10, seed)
        batches.epoch = epoch
        return sum(batches, [])

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(*key)) for key in ((0, 1), (0, 2), (1, 1), (1, 2))}) == 4
    assert not np.array_equal(order(0, 1), range(50))


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), ctrl_c_waits() as came:
        os.kill(os.getpid(), signal.SIGINT)
        assert came()
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not interrupted")


def test_torchrun_hands_on_a_ctrl_c_that_came_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    reached = False
    with pytest.raises(KeyboardInterrupt), ctrl_c_waits():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
