"""Chains of operations become ops with the same results, in whatever form they are written."""

from collections.abc import Callable

import pytest
import torch
from comparison import C, Fusions, X, check, modes
from torch import Tensor, nn
from torch.nn import functional as F


class Chain(nn.Module):
    """Two convolutions, joined and normalised as `body` says."""

    def __init__(self, body: Callable[..., Tensor], channels: int = C):
        super().__init__()
        self.a = nn.Conv2d(C, C, 3, padding=1)
        self.b = nn.Conv2d(C, C, 3, padding=1)
        self.narrow = nn.Conv2d(C, C // 2, 1)
        self.down = nn.Conv2d(C, C, 2, stride=2)
        self.bn = nn.BatchNorm2d(channels)
        self.alpha = nn.Parameter(torch.randn(C))
        self.gamma = nn.Parameter(torch.randn(1, C, 1, 1))
        self.one = nn.Parameter(torch.randn(()))
        self.relu = nn.ReLU(inplace=True)
        self.up = nn.Upsample(scale_factor=2)
        self.drop = nn.Dropout2d(0.5)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def _iadd(m: Chain, x: Tensor) -> Tensor:
    out = m.a(x)
    out += m.b(x)
    return F.relu(m.bn(out), inplace=True)


def _iadd_read_before(m: Chain, x: Tensor) -> Tensor:
    out = m.a(x)
    side = out * 2
    out += x
    return m.bn(out) + side + out


def _no_grad(m: Chain, x: Tensor) -> Tensor:
    with torch.no_grad():
        z = m.relu(m.bn(m.a(x) + x))
    return m.b(z)


def _two_readers(m: Chain, x: Tensor) -> Tensor:
    y = m.a(x) + x
    return m.b(m.relu(m.bn(y))) + y


def _norm_read_twice(m: Chain, x: Tensor) -> Tensor:
    z = m.bn(m.a(x) + x)
    return torch.relu(z) + z


def _merge_add(m: Chain, x: Tensor) -> Tensor:
    return m.relu(m.bn(m.gamma * x + F.interpolate(m.down(x), scale_factor=2, mode="nearest")))


FUSED = {
    "module relu": (lambda m, x: m.relu(m.bn(m.a(x) + x)), "add, BatchNorm, ReLU"),
    "functional": (lambda m, x: F.relu(m.bn(torch.add(x, m.a(x)))), "add, BatchNorm, ReLU"),
    "methods": (lambda m, x: m.bn(m.a(x).add(x)).relu(), "add, BatchNorm, ReLU"),
    "torch.relu_": (lambda m, x: torch.relu_(m.bn(m.a(x).add_(x))), "add, BatchNorm, ReLU"),
    "iadd": (_iadd, "add, BatchNorm, ReLU"),
    "iadd read before": (_iadd_read_before, "add, BatchNorm"),
    "iadd of a copy": (lambda m, x: m.bn(x.clone()[:].add_(m.a(x))), "add, BatchNorm"),
    "no relu": (lambda m, x: m.bn(m.a(x) + x), "add, BatchNorm"),
    "no add": (lambda m, x: m.relu(m.bn(m.a(x))), "BatchNorm, ReLU"),
    "sum read twice": (_two_readers, "add, BatchNorm, ReLU"),
    "norm read twice": (_norm_read_twice, "add, BatchNorm"),
    "scale by view": (
        lambda m, x: m.relu(m.bn(m.a(x) + m.alpha.view(1, -1, 1, 1) * x)),
        "scale, add, BatchNorm, ReLU",
    ),
    "scale and branches": (
        lambda m, x: m.relu(m.bn(torch.cat([m.narrow(x), m.narrow(x)], 1) + x * m.gamma)),
        "concatenation, scale, add, BatchNorm, ReLU",
    ),
    "scale without norm": (lambda m, x: m.a(x) + m.gamma * x, "scale, add"),
    "merge add": (_merge_add, "2x upsampling, scale, add, BatchNorm, ReLU"),
    "merge": (lambda m, x: torch.cat([x, m.up(m.down(x))], 1), "2x upsampling, concatenation"),
    "dropped": (lambda m, x: m.relu(m.bn(m.drop(m.a(x) + x))), "BatchNorm, ReLU"),
    "cat over -3": (
        lambda m, x: m.bn(torch.cat((m.narrow(x), m.narrow(x)), -3) + x),
        "concatenation, add, BatchNorm",
    ),
    "merge by size": (
        lambda m, x: torch.cat([x, F.interpolate(m.down(x), size=x.shape[-2:])], 1),
        "2x upsampling, concatenation",
    ),
    "functional norm": (
        lambda m, x: F.relu(F.batch_norm(m.a(x) + x, None, None, training=True)),
        "add, BatchNorm, ReLU",
    ),
    "gate of a module": (
        lambda m, x: m.bn(m.a(x) + torch.sigmoid(m.gamma) * x),
        "scale, add, BatchNorm",
    ),
    "one gate": (lambda m, x: m.bn(m.a(x) + m.one * x), "scale, add, BatchNorm"),
    "gate of a pixel": (lambda m, x: m.bn(m.a(x) + m.b(x)[:1] * x), "add, BatchNorm"),
    "under no_grad": (_no_grad, "add, BatchNorm, ReLU"),
}


def _alias(m: Chain, x: Tensor) -> Tensor:
    out = m.a(x)
    same = out
    out += x
    return m.bn(out) + same


def _changed_between(m: Chain, x: Tensor) -> Tensor:
    y = m.a(x) + x
    y.mul_(2)
    return m.bn(y)


def _norm_under_no_grad(m: Chain, x: Tensor) -> Tensor:
    y = m.a(x) + x
    with torch.no_grad():
        z = F.relu(m.bn(y))
    return y + z


def _sum_under_no_grad(m: Chain, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.a(x) + x
    return F.relu(m.bn(y))


def _scale_under_no_grad(m: Chain, x: Tensor) -> Tensor:
    with torch.no_grad():
        scaled = m.gamma * x
    return m.bn(m.a(x) + scaled)


def _weight_after_the_sum(m: Chain, x: Tensor) -> Tensor:
    y = m.a(x) + x
    return F.relu(F.batch_norm(y, None, None, m.bn.weight * 2, m.bn.bias, training=True))


LEFT = {
    "weight after the sum": (_weight_after_the_sum, "computed after the sum"),
    "add alpha": (lambda m, x: m.bn(torch.add(m.a(x), x, alpha=2)), "alpha other than 1"),
    "number": (lambda m, x: m.bn(m.a(x) + 1), "a number"),
    "changed between": (_changed_between, "changed in place"),
    "alias of iadd": (_alias, "used elsewhere"),
    "broadcast": (
        lambda m, x: m.relu(m.bn(x + m.a(x).mean((2, 3), True))),
        "branches[0] must have shape",
    ),
    "norm under no_grad": (_norm_under_no_grad, "different gradient modes"),
    "sum under no_grad": (_sum_under_no_grad, "different gradient modes"),
    "scale under no_grad": (_scale_under_no_grad, "under another gradient mode"),
    "upsampled by 2.25": (
        lambda m, x: x + F.interpolate(m.down(x)[:, :, :, :4], scale_factor=2.25)[:, :, :8, :8],
        None,
    ),
    "upsampled first": (lambda m, x: torch.cat([m.up(m.down(x)), x], 1) + 0, None),
    "bilinear": (lambda m, x: x + F.interpolate(m.down(x), None, 2, "bilinear"), None),
}


@pytest.mark.parametrize("name", FUSED)
@modes
def test_chains_become_ops_with_the_same_numbers(name, modes, fusions: Fusions):
    body, chain = FUSED[name]
    check(Chain(body).double(), modes=modes)
    assert chain in [c.chain for c in fusions.report.fused], str(fusions.report)


@pytest.mark.parametrize("name", LEFT)
@modes
def test_what_is_no_such_chain_is_left_with_a_reason(name, modes, fusions: Fusions):
    body, reason = LEFT[name]
    check(Chain(body).double(), modes=modes)
    assert all("add" not in c.chain for c in fusions.report.fused), str(fusions.report)
    if reason is not None:
        assert any(reason in item.reason for item in fusions.report.left), str(fusions.report)


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_layouts(form, fusions: Fusions):
    model = Chain(FUSED["module relu"][0]).double().to(memory_format=form)  # type: ignore[call-overload]
    converted = check(model, X.contiguous(memory_format=form))
    out = converted(X.contiguous(memory_format=form))
    assert out.is_contiguous(memory_format=form) and fusions.count


def test_a_sum_of_two_layouts_keeps_the_one_it_has(fusions: Fusions):
    """Of the first summand; the op's would be that of the one with the gate."""
    form = torch.channels_last
    model = Chain(lambda m, x: m.a(x.contiguous(memory_format=form)) + m.gamma * x).double()
    assert check(model)(X).is_contiguous(memory_format=form)
    assert not fusions.count and "layout" in fusions.report.left[0].reason
