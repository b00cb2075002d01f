"""Forwards with Python code that a graph of tensor operations cannot hold."""

import copy
import random

import numpy as np
import pytest
import torch
from comparison import Block, C, Fusions, X, blocks, check, compare, modes
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

from softgate_ext import convert


class Double(torch.autograd.Function):
    """Twice the value, and three times the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 3


class Doing(Block):
    """Does what it is given."""

    def __init__(self, do):
        super().__init__()
        self.do = do
        self.seen: list[Tensor] = []
        self.calls = 0
        self.features = None

    def forward(self, x: Tensor) -> Tensor:
        return self.do(self, x)


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
    return lambda m, x: x * 1 if m.training and draw() < 0.5 else x + m.branch(x)


def _stores(m, x):
    m.features = x + m.branch(x)
    return m.features * 1


def _appends(m, x):
    m.seen.append(x)
    return x + m.branch(x)


def _counts(m, x):
    m.calls += 1
    return (x + m.branch(x)) * m.calls


def _writes(m, x):
    m.bn1.num_batches_tracked += 1
    return x * m.bn1.num_batches_tracked.double() + m.branch(x)


DOING = {
    "isinstance": lambda m, x: m.branch(x) + (x if isinstance(x.shape[1], int) else x[0]),
    "autograd.Function": lambda m, x: Double.apply(x) + m.branch(x),
    "no_grad": _no_grad,
    "checkpoint": _checkpointed(False),
    "reentrant checkpoint": _checkpointed(True),
    "autocast": _autocast(True),
    "no autocast": _autocast(False),
    "random": _layer_drop(random.random),
    "numpy.random": _layer_drop(np.random.random),
    "torch.rand": _layer_drop(lambda: torch.rand(1).item()),
    "attribute": _stores,
    "list": _appends,
    "counter": _counts,
    "buffer": _writes,
    "values": lambda m, x: x + m.branch(x) if x.sum() > -1e9 else x,
}


@pytest.mark.parametrize("name", DOING)
@modes
def test_forwards_that_do_more(name, modes):
    """Three calls in each mode."""
    model = Doing(DOING[name]).double()
    original, converted = copy.deepcopy(model), convert(model)
    for training in modes:
        results = []
        for m in (original.train(training), converted.train(training)):
            random.seed(0), np.random.seed(0), torch.manual_seed(0)
            inputs = X.clone().requires_grad_()
            outs = [m(inputs) for _ in range(3)]
            sum(out.square().sum() for out in outs).backward()
            grads = [inputs.grad, *(p.grad for p in m.parameters())]
            results.append([*outs, *grads, *m.buffers(), m.calls, len(m.seen), m.features])
        loose = {"rtol": 1e-2, "atol": 1e-2} if name == "autocast" else {}
        torch.testing.assert_close(results[1], results[0], **loose)


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
        return torch.cat([out, F.relu(m.bn2(out))], 1)

    model = Doing(forward).eval()
    original, converted = copy.deepcopy(model), convert(model)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(converted(X.float()), original(X.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_call(dtype, fusions: Fusions):
    """The residual stream is of half precision throughout, and its chains are fused."""
    model = nn.Sequential(nn.Conv2d(C, C, 1), Block(), Block())
    original, converted = copy.deepcopy(model), convert(model)
    with torch.autocast("cpu", dtype):
        got, wanted = converted(X.float()), original(X.float())
    assert got.dtype == wanted.dtype and fusions.count == 4
    torch.testing.assert_close(got, wanted, rtol=5e-2, atol=5e-2)
    got.float().sum().backward()
    assert all(p.grad is not None for p in converted.parameters())


@pytest.mark.parametrize(
    "options", [{}, {"track_running_stats": False}, {"affine": False}], ids=str
)
@modes
def test_norms_of_any_kind(options, modes, fusions: Fusions):
    norm = nn.BatchNorm2d(C, momentum=0.3, **options)
    check(nn.Sequential(nn.Conv2d(C, C, 1), norm, nn.ReLU()).double(), modes=modes)
    assert fusions.count


@pytest.mark.slow
def test_a_norm_with_a_cumulative_average():
    """Its momentum is read out of a tensor, where Dynamo ends the graph."""
    model = nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C, momentum=None), nn.ReLU()).double()
    check(model, modes=(True, True, True, False))


def test_a_momentum_computed_in_the_forward(fusions: Fusions):
    def forward(m, x):
        momentum = x.shape[0] / (x.shape[0] + 4)
        statistics = (m.bn1.running_mean, m.bn1.running_var)
        return F.relu(F.batch_norm(x, *statistics, training=True, momentum=momentum))

    model = Doing(forward).double()
    original = copy.deepcopy(model)
    model.compile(backend="softgate", dynamic=True)
    for n in (3, 5):
        compare(original, model, X[:1].repeat(n, 1, 1, 1))
    assert fusions.count


def test_a_size_that_depends_on_values(fusions: Fusions):
    def forward(m, x):
        return m.branch(x[(x.sum((1, 2, 3)) > -1e9).nonzero()[:, 0]])

    model = Doing(forward).double()
    expected = copy.deepcopy(model)(X)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        torch.testing.assert_close(convert(model)(X), expected)


def test_tensors_of_a_gpu(fusions: Fusions):
    """That there is none does not matter: the fake tensors of a trace decide."""
    with FakeTensorMode(), torch.device("cuda"):
        out = convert(Block())(torch.empty(2, C, 8, 8))
    assert out.device.type == "cuda" and fusions.count == 2


def test_tensors_of_another_class(fusions: Fusions):
    """They are left to what their class makes of PyTorch's own functions."""
    model = nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C), nn.ReLU()).double()
    original, x = copy.deepcopy(model), TwoTensor(X, X.flip(0))
    torch.testing.assert_close(convert(model)(x).b, original(x).b)
    assert not fusions.count and "a class of its own" in fusions.report.left[0].reason


def test_inference_mode(fusions: Fusions):
    model = blocks(2).eval()
    original = copy.deepcopy(model)
    with torch.inference_mode():
        torch.testing.assert_close(convert(model)(X), original(X))
    assert fusions.count == 4


def test_a_transform_of_torch_func():
    model = blocks(1).eval()
    original = copy.deepcopy(model)
    vmapped = torch.func.vmap(lambda x: model[0](x))
    model.compile(backend="eager")
    batch = torch.stack([X, 2 * X])
    torch.testing.assert_close(
        torch.compile(vmapped, backend="softgate")(batch),
        torch.stack([original(x) for x in batch]),
    )
