"""Rewritten random programs return the same results, wherever they write in place."""

import copy

import pytest
import torch
from comparison import Fusions
from programs import STEPS, C, Program, outcome, random_program

from softgate_ext import convert

X = torch.randn(2, C, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def check(program: Program, modes: tuple[bool, ...] = (True, False)) -> None:
    for training in modes:
        mine = outcome(copy.deepcopy(program).train(training), X)
        theirs = outcome(convert(copy.deepcopy(program)).train(training), X)
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-9)


def runs(program: Program) -> bool:
    """Some steps do not fit each other, such as a view of a tensor that is not contiguous."""
    try:
        outcome(copy.deepcopy(program), X)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 100), marks=pytest.mark.slow)])
def test_random_programs(seeds, fusions: Fusions):
    programs = [p for p in map(random_program, seeds) if runs(p)]
    for i, program in enumerate(programs):
        check(program, (i % 2 == 0,))
    assert len(programs) > len(seeds) / 2 and fusions.count > len(programs) / 2


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
    "statistics of the norm": [
        ("add", 1, 2, 3), ("statistics", 3, 0, 4), ("norm 0, ReLU", 3, 4, 5),
    ],
    "weight of the norm": [("add", 1, 2, 3), ("weight", 3, 0, 4), ("norm 0, ReLU", 3, 4, 5)],
    "read before the norm": [("norm", 1, 0, 3), ("imul", 1, 0, 1), ("relu", 3, 0, 4)],
    "alpha of a sum": [("point", 0, 0, 1), ("point", 0, 0, 2), ("torch.add", 1, 2, 3)],
    "norm called twice": [("norm 0, ReLU", 1, 0, 3), ("add", 1, 2, 4), ("norm 0, ReLU", 4, 3, 5)],
}  # fmt: skip


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_what_is_overwritten_around_a_chain(name):
    program = Program(OVERWRITTEN[name]).double()
    assert runs(program)
    check(program)


@pytest.mark.slow
def test_each_step_alone():
    for name in STEPS:
        program = Program([(name, 1, 2, 3), ("norm, ReLU", 3, 0, 4)]).double()
        if runs(program):
            check(program, (True,))
