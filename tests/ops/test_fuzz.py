"""Random calls of the ops: values and gradients against the oracle, and the same bits from every entry."""

import random
from dataclasses import replace

import pytest
import torch
from cases import Case, Inputs, call, check, make_inputs, strided_variants

from softgate_ext.ops import fallback
from softgate_ext.ops.backend import is_available
from softgate_ext.ops.schema import GIVES, SCHEMAS, TAKES

CALLS = 50  # of a test: 500 by default, 10,000 with the slow ones
DTYPES = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)


def partition(rng: random.Random, total: int) -> tuple[int, ...]:
    """Up to four parts."""
    cuts = sorted(rng.sample(range(1, total), min(rng.randrange(4), total - 1)))
    return tuple(b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True))


def random_case(rng: random.Random) -> Case:
    merge = rng.choice([None, None, "concat", "add"])
    c = rng.choice([*range(1, 20), 33, 48, 64, 144])
    h, w = (rng.choice([1, 2, 3, 4, 5, 7, 8, 11, 16]) * (2 if merge else 1) for _ in "hw")
    # Of fewer values a channel's variance may be so small that rounding is all that gradients show.
    n = max(rng.randrange(1, 4), -(-16 // (h * w)))
    plain = merge is None and rng.random() < 0.2
    training = rng.random() < 0.7
    return Case(
        size=(n, c, h, w),
        split=() if merge and rng.random() < 0.5 else partition(rng, c),
        plain=plain,
        merge=merge,
        low_channels=c if merge == "add" else rng.randrange(1, 40),
        alpha=rng.choice(["channel", "channel", "block", None]),
        norm=plain or rng.random() < 0.7,
        training=training,
        affine=rng.random() < 0.8,
        running=not training or rng.random() < 0.8,
        relu=rng.random() < 0.8,
        dtype=rng.choice(DTYPES),
        channels_last=rng.random() < 0.5,
        mean=rng.choice([0.0, 0.5, 3.0]),
        seed=rng.randrange(2**31),
    )


def op_of(case: Case) -> str:
    sums = "" if case.plain else "skip_merge" if case.merge else "gated_residual"
    return "_".join([sums] * bool(sums) + ["bn_relu"] * case.norm)


def arguments(op: str, case: Case, i: Inputs, made: dict) -> list:
    """Those of a forward op, or, with what it has made, of its backward."""
    values = vars(i) | made | dict(training=case.training, eps=1e-5, relu=case.relu)
    values |= dict(mode=case.merge, channels=case.size[1], split=[*case.split])
    if case.plain:
        values["y"] = i.x
    if not case.training:
        values |= dict(mean=i.running_mean, var=i.running_var)
    learnt = [i.x, i.branches, i.low, i.alpha] if "alpha" in TAKES[op] else [i.x]
    if not case.merge and len(learnt) == 4:
        del learnt[2]
    if case.norm:
        learnt += [i.weight, i.bias]
    values["needs"] = [isinstance(t, torch.Tensor) or bool(t) for t in learnt]
    return [values[role] for role in TAKES[op]]


def everything(ops, case: Case, i: Inputs) -> list[torch.Tensor]:
    """What the op and its backward return, through one door."""
    op = op_of(case)
    found = getattr(ops, op)(*arguments(op, case, i, {}))
    outputs = [found] if isinstance(found, torch.Tensor) else [*found]
    made = dict(zip(GIVES[op], outputs, strict=True))
    gradients = getattr(ops, f"{op}_backward")(*arguments(f"{op}_backward", case, i, made))
    return outputs + [*gradients]


def otherwise_laid_out(rng: random.Random, i: Inputs) -> Inputs:
    """The same values behind other strides, in all but x, whose layout the results have."""

    def other(t):
        return None if t is None else rng.choice([t, *strided_variants(t)])

    branches = [other(b) for b in i.branches]
    return replace(i, branches=branches, low=other(i.low), dy=other(i.dy), dz=other(i.dz))


def seeds(first: int, last: int, *marks):
    return [pytest.param(seed, marks=marks, id=str(seed)) for seed in range(first, last)]


@pytest.mark.skipif(not is_available("cpu"), reason="needs the compiled CPU kernels")
@pytest.mark.parametrize("seed", seeds(0, 10) + seeds(10, 200, pytest.mark.slow))
def test_random_calls(seed):
    from softgate_ext import _C

    rng = random.Random(seed)
    for _ in range(CALLS):
        case = random_case(rng)
        inputs = make_inputs(case)
        check(case, inputs)
        own = inputs.cast()
        y, z = (None if t is None else t.detach() for t in call(case, own))
        i = otherwise_laid_out(rng, inputs)
        before = [t.clone() for t in (i.x, i.dy, i.dz, *i.branches)]
        direct, dispatched = everything(_C, case, i), everything(torch.ops.softgate, case, i)
        for one, other in zip(direct, dispatched, strict=True):
            assert torch.equal(one, other), case
        for public, result in zip(
            filter(torch.is_tensor, (None if case.plain else y, z)), direct, strict=False
        ):
            assert torch.equal(public, result), case
        plainly = everything(fallback.kernels, case, i)
        assert [t.shape for t in plainly] == [t.shape for t in direct], case
        for t, same in zip((i.x, i.dy, i.dz, *i.branches), before, strict=True):
            assert torch.equal(t, same), f"an input was changed: {case}"


def test_every_op_is_among_the_random_calls():
    rng = random.Random(0)
    called = {op_of(random_case(rng)) for _ in range(200)}
    assert called == {op for op in SCHEMAS if not op.endswith("_backward")}
