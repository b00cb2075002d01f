"""Several gradients in one backward pass equal those of separate passes."""

import pytest
import torch
from cases import Case, call, make_inputs

from softgate_ext import use_backend

KINDS = {
    "residual": Case(norm=False, affine=False),
    "residual_norm": Case(),
    "norm": Case(plain=True),
    "evaluation": Case(training=False, channels_last=True),
    "concat": Case(merge="concat", norm=False, affine=False, split=()),
    "pending_add_norm": Case(merge="add"),
}


def at_once(outputs, leaves, gradients):
    return torch.autograd.grad(outputs, leaves, gradients, is_grads_batched=True)


def mapped(outputs, leaves, gradients):
    def one(*g):
        return torch.autograd.grad(outputs, leaves, g, retain_graph=True)

    return torch.vmap(one)(*gradients)


@pytest.fixture(params=["cpu", "reference"], autouse=True)
def backend(request):
    with use_backend(request.param):
        yield


@pytest.mark.parametrize("way", [at_once, mapped])
@pytest.mark.parametrize("kind", KINDS)
def test_batched_gradients(kind, way):
    case = KINDS[kind]
    inputs = make_inputs(case).cast()
    outputs = [y for y in call(case, inputs) if y is not None]
    leaves = [*inputs.differentiable().values()]
    gradients = [torch.randn(3, *y.shape) for y in outputs]
    expected = [
        torch.autograd.grad(outputs, leaves, [g[i] for g in gradients], retain_graph=True)
        for i in range(3)
    ]
    got = way(outputs, leaves, gradients)
    for one, each in zip(got, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(one, torch.stack(each))


def test_jacobian_of_all_outputs_at_once():
    case = Case(size=(1, 4, 2, 2), split=(4,), dtype=torch.float64)
    inputs = make_inputs(case)

    def function(x):
        inputs.x = x
        return call(case, inputs)[1]

    once = torch.autograd.functional.jacobian(function, inputs.x, vectorize=True)
    torch.testing.assert_close(once, torch.autograd.functional.jacobian(function, inputs.x))
