"""Measures the five ops against eager and compiled PyTorch, and a copy of as many bytes."""

from collections.abc import Callable

import pytest

from benchmarks.cases import OpCase, make_inputs, op_function
from benchmarks.memory import input_sets
from benchmarks.peers import check_agreement, copy_of, peers
from benchmarks.race import Race, fused_clock

pytestmark = pytest.mark.benchmark(timer=fused_clock, disable_gc=True)


def test_op(op_case: OpCase, names: Callable[..., list[str]], compete: Callable[..., Race]) -> None:
    count = input_sets(op_case.ideal_bytes, op_case.device)
    sets = [make_inputs(op_case, seed) for seed in range(count)]
    function = op_function(op_case)
    rivals = list(peers(names(op_case.device), function, op_case.phase, sets))
    copy = copy_of(op_case.ideal_bytes, op_case.device, count)
    race = compete([*rivals, copy], op_case, count, ideal_bytes=op_case.ideal_bytes)

    # Where rounding changes the sign of a pre-activation near 0, ReLU blocks or passes its gradient,
    # and a whole term of the sums over pixels differs.
    tolerance = 1e-2 if op_case.dtype == "float32" else 3e-2
    fused, *others = rivals
    result = race.result(fused)
    for other in others:
        check_agreement(other.name, race.result(other), result, tolerance)
