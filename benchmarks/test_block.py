"""Measures `SoftGatedBlock` with its convolutions against eager and compiled PyTorch."""

from collections.abc import Callable

import pytest

from benchmarks.memory import input_sets
from benchmarks.modules import BlockCase, make_block
from benchmarks.peers import check_agreement, peers
from benchmarks.race import Race, fused_clock

pytestmark = pytest.mark.benchmark(timer=fused_clock, disable_gc=True)


def test_block(
    block_case: BlockCase, names: Callable[..., list[str]], compete: Callable[..., Race]
) -> None:
    n, c, h, w = block_case.size
    count = input_sets(4 * n * c * h * w, block_case.device)
    function, sets = make_block(block_case, count)
    rivals = list(peers(names(block_case.device), function, block_case.phase, sets))
    race = compete(rivals, block_case, count)

    # The competitors round to bfloat16 at different places.
    tolerance = 1e-2 if block_case.dtype == "float32" else 1e-1
    fused, *others = rivals
    result = race.result(fused)
    for other in others:
        check_agreement(other.name, race.result(other), result, tolerance)
