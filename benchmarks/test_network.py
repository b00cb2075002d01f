"""Measures training steps of a small and of a large network, with fused and with eager ops."""

from collections.abc import Callable

import pytest

from benchmarks.modules import NetworkCase, network_cost, training_steps
from benchmarks.race import Race, fused_clock

pytestmark = pytest.mark.benchmark(timer=fused_clock, disable_gc=True)


def test_step(
    network_case: NetworkCase, names: Callable[..., list[str]], compete: Callable[..., Race]
) -> None:
    rivals = list(training_steps(network_case, names(network_case.device, compiled=False)))
    compete(rivals, network_case, **network_cost(network_case))
