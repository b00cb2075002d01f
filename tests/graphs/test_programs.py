"""Rewritten programs give what the programs give, wherever they write in place."""

import copy

import pytest
import torch
from programs import STEPS, C, Program, outcome, random_program

from softgate_ext import convert

X = torch.randn(2, C, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def check(program: Program) -> int:
    """Compares, in training and in evaluation; returns how many chains were fused."""
    converted, report = convert(copy.deepcopy(program))
    assert not [left for left in report.left if "trace" in left.reason]
    for training in (True, False):
        mine = outcome(copy.deepcopy(program).train(training), X)
        theirs = outcome(copy.deepcopy(converted).train(training), X)
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-9)
    return len(report.changed)


def runs(program: Program) -> bool:
    """Some steps do not fit each other, such as a view of a tensor that is not contiguous."""
    try:
        outcome(copy.deepcopy(program), X)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 800), marks=pytest.mark.slow)])
def test_random_programs(seeds):
    programs = [p for p in map(random_program, seeds) if runs(p)]
    fused = [check(p) for p in programs]
    assert len(programs) > len(seeds) / 2 and sum(fused) > len(programs) / 2


# Of each: the values are x, conv(x), conv(x); a step reads two places and writes to one.
OVERWRITTEN = {
    "operand of a scale": [("scale", 1, 1, 3), ("mul_", 1, 1, 1), ("add, norm, relu", 3, 2, 4)],
    "operand of a cat": [("cat, then written", 1, 2, 3), ("norm, ReLU", 3, 0, 4)],
    "operand of an upsampling": [("up, then written", 1, 2, 3), ("norm, ReLU", 3, 0, 4)],
    "view of the sum": [
        ("add", 1, 2, 3), ("part", 3, 0, 4), ("mul_", 4, 0, 4), ("norm, ReLU", 3, 0, 5),
    ],
    "identity of a summand": [
        ("same", 1, 0, 3), ("iadd", 1, 2, 1), ("norm, ReLU", 1, 0, 4), ("add", 3, 4, 5),
    ],
    "dropout of a summand": [
        ("drop", 1, 0, 3), ("add_", 3, 2, 3), ("norm, ReLU", 3, 0, 4), ("add", 1, 4, 5),
    ],
    "permuted summand": [
        ("permuted", 1, 0, 3), ("iadd", 1, 2, 1), ("norm, ReLU", 1, 0, 4), ("add", 3, 4, 5),
    ],
    "detached sum": [
        ("add", 1, 2, 3), ("detached", 3, 0, 4), ("ReLU_", 4, 0, 4), ("norm", 3, 0, 5),
    ],
    "image between mean and deviation": [
        ("minus", 1, 0, 3), ("imul", 1, 0, 1), ("over", 3, 0, 4),
    ],
    "read before the norm": [("norm", 1, 0, 3), ("imul", 1, 0, 1), ("relu", 3, 0, 4)],
    "alpha of a sum": [("point", 0, 0, 1), ("point", 0, 0, 2), ("torch.add", 1, 2, 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_what_is_overwritten_around_a_chain(name):
    torch.manual_seed(0)
    program = Program(OVERWRITTEN[name]).double()
    assert runs(program)
    check(program)


def test_each_step_alone():
    for name in STEPS:
        torch.manual_seed(0)
        program = Program([(name, 1, 2, 3), ("norm, ReLU", 3, 0, 4)]).double()
        if runs(program):
            check(program)
