"""Forwards that do more than a graph holds are left, with a reason, and stay what they were."""

import copy
import pickle
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from softgate_ext.conversion import convert

C = 6
X = torch.randn(2, C, 6, 4, dtype=torch.float64)


class Block(nn.Module):
    """A pre-activation residual block, whose forward `do` wraps."""

    def __init__(self, do=None):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(C)
        self.conv1 = nn.Conv2d(C, C, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(C)
        self.conv2 = nn.Conv2d(C, C, 3, padding=1)
        self.do = do
        self.flag = True
        self.seen: list[Tensor] = []
        self.calls = 0
        self.features = None

    def branch(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.do is None else self.do(self, x)


def _no_grad(m, x):
    with torch.no_grad():
        x = m.conv1(x)
    return x + m.branch(x)


def _checkpointed(reentrant):
    return lambda m, x: x + checkpoint(m.branch, x, use_reentrant=reentrant)


def _autocast(enabled):
    def forward(m, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            h = m.conv1(x.to(m.conv1.weight.dtype))
        return h + m.branch(x)

    return forward


def _layer_drop(draw):
    return lambda m, x: x if m.training and draw() < 0.5 else x + m.branch(x)


def _stores(m, x):
    m.features = x + m.branch(x)
    return m.features


def _appends(m, x):
    m.seen.append(x)
    return x + m.branch(x)


def _counts(m, x):
    m.calls += 1
    return x + m.branch(x)


def _asks(m, x):
    return m.branch(x) + (x if isinstance(x.shape[1], int) else x[0])


class Double(torch.autograd.Function):
    """Twice the value, and three times the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 3


LEFT = {
    "isinstance": (_asks, "class of a value"),
    "autograd.Function": (lambda m, x: Double.apply(x) + m.branch(x), "autograd.Function"),
    "no_grad": (_no_grad, "gradient mode"),
    "checkpoint": (_checkpointed(False), "class of a value"),
    "reentrant checkpoint": (_checkpointed(True), "class of a value"),
    "autocast": (_autocast(True), "autocast"),
    "no autocast": (_autocast(False), "autocast"),
    "random": (_layer_drop(random.random), "random"),
    "numpy.random": (_layer_drop(np.random.random), "random"),
    "torch.rand": (_layer_drop(lambda: torch.rand(1).item()), "random"),
    "attribute": (_stores, "sets attributes"),
    "list": (_appends, "sets attributes"),
    "counter": (_counts, "sets attributes"),
}


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("do, reason", LEFT.values(), ids=LEFT)
def test_left(do, reason, within):
    """By itself, and as one of several, of which the others are converted."""
    block = Block(do).double()
    model = nn.Sequential(Block(), block).double() if within else block
    before = pickle.dumps({k: v for k, v in vars(block).items() if k != "do"})
    state = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    for _ in range(4):  # a draw may keep the layer
        converted, report = convert(model)
        assert [left.where for left in report.left] == ["1" if within else "(model)"]
        assert reason in report.left[0].reason
        assert bool(report.changed) == within
    assert pickle.dumps({k: v for k, v in vars(block).items() if k != "do"}) == before
    now = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    assert now[:2] == state[:2] and torch.equal(now[2], state[2])

    expected = copy.deepcopy(model)
    for module in (expected, converted):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        for _ in range(3):
            module(X.clone().requires_grad_()).sum().backward()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(converted.get_parameter(name).grad, parameter.grad, msg=name)
    theirs, ours = (m[1] if within else m for m in (expected, converted))
    assert ours.calls == theirs.calls and len(ours.seen) == len(theirs.seen)
    assert (ours.features is None) == (theirs.features is None)


class Flagged(Block):
    """Returns more where a flag is set."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = x + self.branch(x)
        return (y, y.mean()) if self.flag else y


def _more(m, x):
    y = x + m.branch(x)
    return (y, y.mean()) if m.flag else y


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("make", [Flagged, lambda: Block(_more)], ids=["own", "function"])
def test_a_flag_set_later_counts(make, within):
    converted, report = convert((nn.Sequential(Block(), make()) if within else make()).double())
    assert len(report.changed) == (4 if within else 2) and not report.left
    flagged = converted[1] if within else converted
    assert isinstance(converted(X), tuple)
    flagged.flag = False
    assert isinstance(converted(X), Tensor)
    assert isinstance(copy.deepcopy(converted)(X), Tensor)
    flagged.flag = True
    assert isinstance(copy.deepcopy(converted)(X), tuple)


def test_children_put_in_added_and_taken_later_count():
    converted, _ = convert(nn.Sequential(Block(), Block(), Block()).double().eval())
    whole = converted(X)
    torch.testing.assert_close(converted[:2](X), converted[1](converted[0](X)))
    converted.append(nn.Sigmoid())
    torch.testing.assert_close(converted(X), whole.sigmoid())
    del converted[-1]
    torch.testing.assert_close(converted(X), whole)
    converted[2] = nn.Identity()
    torch.testing.assert_close(converted(X), converted[:2](X))
    converted[0].conv1 = nn.Conv2d(C, C, 1).double()
    torch.testing.assert_close(converted(X), converted[1](converted[0](X)))


def test_a_forward_put_on_a_module_later_runs():
    converted, _ = convert(nn.Sequential(Block(), Block()).double().eval())
    for name in ("0", "1.bn2", "1.conv2"):
        module, calls = converted.get_submodule(name), []
        own = module.forward
        module.forward = lambda x, own=own, calls=calls: calls.append(1) or own(x)
        converted(X)
        assert calls, name
        del module.forward


def _joins(m, x):
    x = x if isinstance(x, Tensor) else torch.cat(x, 1)
    return (x[0] if isinstance(x, list | Sequence) else x) + m.branch(x)


def test_isinstance_says_of_inputs_that_they_are_tensors():
    """What is none takes the model's own forward."""
    model = Block(_joins).double().eval()
    converted, report = convert(model)
    assert len(report.changed) == 2 and not report.left
    torch.testing.assert_close(converted(X), model(X))
    torch.testing.assert_close(converted([X[:, :2], X[:, 2:]]), model(X))
    assert "isinstance" not in globals() and "isinstance" not in vars(torch)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_addition_in_place_keeps_the_dtype_under_autocast(dtype, swap):
    def forward(m, x):
        out = m.conv1(F.relu(m.bn1(x)))
        if swap:
            x = x.clone()
            x += out
            out = x
        else:
            out += x
        return out, F.relu(m.bn2(out))

    model = Block(forward).eval()
    converted, report = convert(model)
    assert len(report.changed) == 2
    with torch.autocast("cpu", dtype):
        for got, wanted in zip(converted(X.float()), model(X.float()), strict=True):
            torch.testing.assert_close(got, wanted)
