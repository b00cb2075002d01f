"""The path without the dispatcher: which calls use it, and that the others still get the op."""

from dataclasses import replace

import pytest
import torch
from cases import Case, call, make_inputs
from torch.utils._python_dispatch import TorchDispatchMode

import softgate_ext
from softgate_ext import InputError


class Seen(TorchDispatchMode):
    """Notes our ops on their way through the dispatcher."""

    def __init__(self):
        super().__init__()
        self.ops: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "softgate_triton":
            self.ops.append(func._opname)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def known(device, played):
    """x, f and alpha of a kind that has a tape."""
    x, f, alpha = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4), torch.rand(8)
    softgate_ext.gated_residual(x, f, alpha)
    assert not played
    return x, f, alpha


def expected(x, f, alpha):
    return alpha.view(1, -1, 1, 1) * x + f


def test_plain_tensors_go_round_the_dispatcher(known, played, monkeypatch):
    monkeypatch.setattr(torch._ops.OpOverload, "__call__", None)
    got = softgate_ext.gated_residual(*known)
    assert len(played) == 1
    torch.testing.assert_close(got, expected(*known))


def test_a_mode_sees_the_op(known):
    with Seen() as seen:
        softgate_ext.gated_residual(*known)
    assert seen.ops == ["gated_residual"]


def test_the_profiler_sees_the_op(known):
    with torch.profiler.profile() as profile:
        softgate_ext.gated_residual(*known)
    assert "softgate_triton::gated_residual" in {event.key for event in profile.key_averages()}


class Logged(torch.Tensor):
    """A tensor that wants to see every op."""

    seen: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs)


def test_a_tensor_of_another_class_sees_the_op(known):
    x, f, alpha = known
    Logged.seen.clear()
    got = softgate_ext.gated_residual(x.as_subclass(Logged), f, alpha)
    assert softgate_ext.gated_residual in Logged.seen
    torch.testing.assert_close(got.as_subclass(torch.Tensor), expected(*known))


def test_a_view_of_negated_values(known):
    x, f, alpha = known
    got = softgate_ext.gated_residual(torch._neg_view(x), f, alpha)
    torch.testing.assert_close(got, expected(-x, f, alpha))


@pytest.mark.parametrize("case", [Case(), Case(merge="add"), Case(plain=True)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_for_whoever_wants_them(case, training, device, played):
    """Of one argument at a time, by the short way and by the dispatcher's."""
    case = replace(case, training=training)
    norm = {"weight", "bias"}
    names = norm if case.plain else norm | {"alpha"}
    for name in sorted(names):
        inputs = make_inputs(case).cast()
        for tensor in (inputs.x, *inputs.branches, inputs.alpha, inputs.weight, inputs.bias):
            if tensor is not None:
                tensor.requires_grad_(False)
        wanted = getattr(inputs, name).requires_grad_()

        def gradient(wanted=wanted, inputs=inputs):
            out = call(case, inputs)
            out = out[-1] if isinstance(out, tuple) else out
            return torch.autograd.grad(out.square().sum(), wanted)[0]

        first = gradient()
        with Seen():
            long = gradient()
        before = len(played)
        short = gradient()
        assert len(played) > before
        torch.testing.assert_close(short, first)
        torch.testing.assert_close(short, long)


def test_a_second_derivative_is_refused_as_by_the_op(known):
    x, f, alpha = (t.requires_grad_() for t in known)
    for _ in range(3):
        y = softgate_ext.gated_residual(x, f, alpha)
        gradients = torch.autograd.grad(y.square().sum(), (x, f, alpha), create_graph=True)
        with pytest.raises(InputError, match="gated_residual has no second derivative"):
            torch.autograd.grad(sum(g.sum() for g in gradients), x)
