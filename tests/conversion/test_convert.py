"""Conversion: the same numbers and state, whatever form the chain is written in."""

import copy
import importlib
import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softgate_ext import InputError, ops
from softgate_ext.conversion import convert
from softgate_ext.nn import SoftGatedBlock

C = 6


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


def _two_readers(m: Chain, x: Tensor) -> Tensor:
    y = m.a(x) + x
    return m.b(m.relu(m.bn(y))) + y


def _norm_read_twice(m: Chain, x: Tensor) -> Tensor:
    z = m.bn(m.a(x) + x)
    return torch.relu(z) + z


def _merge_add(m: Chain, x: Tensor) -> Tensor:
    return m.relu(m.bn(m.gamma * x + F.interpolate(m.down(x), scale_factor=2, mode="nearest")))


CHANGED = {
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
    # What only a call shows runs unfused, within the converted forward.
    "broadcast": (lambda m, x: m.relu(m.bn(x + m.a(x).mean((2, 3), True))), "add, BatchNorm, ReLU"),
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


LEFT = {
    "add alpha": (lambda m, x: m.bn(torch.add(m.a(x), x, alpha=2)), "alpha other than 1"),
    "number": (lambda m, x: m.bn(m.a(x) + 1), "a number"),
    "changed between": (_changed_between, "changed in place"),
    "alias of iadd": (_alias, "used elsewhere"),
    "called twice": (lambda m, x: m.bn(F.relu(m.bn(x))), "more than once"),
    "upsampled first": (lambda m, x: torch.cat([m.up(m.down(x)), x], 1) + 0, None),
    "bilinear": (lambda m, x: x + F.interpolate(m.down(x), None, 2, "bilinear"), None),
}


def _compare(original: nn.Module, converted: nn.Module, x: Tensor, exact: float = 1e-11) -> None:
    """Outputs, gradients and buffers, in both modes."""
    for mode in (True, False):
        results = []
        for model in (original, converted):
            model.train(mode)
            inputs = x.clone().requires_grad_()
            torch.manual_seed(1)
            out = model(inputs)
            out.square().sum().backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            results.append([out, inputs.grad, *grads, *model.buffers()])
            model.zero_grad()
        assert len(results[0]) == len(results[1])
        for mine, theirs in zip(*results, strict=True):
            # Of a gradient's largest value: norms over a few pixels multiply every rounding.
            largest = float(mine.detach().abs().max()) if mine.numel() else 0.0
            torch.testing.assert_close(theirs, mine, rtol=exact, atol=exact * max(1.0, largest))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


X = torch.randn(2, C, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", CHANGED)
def test_chains_become_ops_with_the_same_numbers(name):
    body, chain = CHANGED[name]
    model = Chain(body).double()
    original = copy.deepcopy(model)
    converted, report = convert(model)
    assert chain in [c.chain for c in report.changed], str(report)
    _compare(original, converted, X)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_such_chain_is_left_with_a_reason(name):
    body, reason = LEFT[name]
    model = Chain(body).double()
    original = copy.deepcopy(model)
    converted, report = convert(model)
    assert all("add" not in c.chain for c in report.changed), str(report)
    if reason is not None:
        assert any(reason in item.reason for item in report.left), str(report)
    _compare(original, converted, X)


def _residual() -> Chain:
    return Chain(lambda m, x: m.relu(m.bn(m.a(x) + x))).double()


def test_state_dicts_load_both_ways_and_parameters_are_shared():
    first, second = _residual(), _residual()
    converted, _ = convert(first)
    assert list(converted.state_dict()) == list(second.state_dict())
    second.load_state_dict(converted.state_dict())
    converted.load_state_dict(_residual().state_dict())
    assert converted.bn is first.bn and isinstance(converted, Chain)


def test_hooks_keep_firing():
    early, late = _residual(), _residual()
    seen = []
    early.bn.register_forward_hook(lambda *_: seen.append("early"))
    converted, report = convert(early)
    assert any("hooks" in item.reason for item in report.left)
    converted(X)
    converted, _ = convert(late)
    late.bn.register_forward_hook(lambda *_: seen.append("late"))
    converted(X)
    assert seen == ["early", "late"]


class Block(nn.Module):
    """A pre-activation block that a model calls, so that its forward becomes part of the graph."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(C)
        self.conv = nn.Conv2d(C, C, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(self.bn(x)))


class Optional(nn.Module):
    """Blocks, and arguments that may be left out."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.bn = nn.BatchNorm2d(C)

    def forward(
        self, x: Tensor, scale: float | None = None, shift: bool = False, *, times: int = 2
    ) -> Tensor:
        y = F.relu(self.bn(self.blocks(x)))
        y = y if scale is None else y * scale
        return (y + 1 if shift else y) * times


def test_hooks_added_later_to_a_block_fire():
    model = Optional().double()
    original = copy.deepcopy(model)
    converted, _ = convert(model)
    twin, seen = copy.deepcopy(converted), []
    converted.blocks[1].register_forward_hook(lambda *_: seen.append("block"))
    _compare(original, converted, X)
    twin(X)
    assert seen == ["block"] * 2


@pytest.mark.parametrize(
    "args, options, fused",
    [
        ((), {}, True),
        ((None,), {}, True),
        ((None, False), {"times": 2}, True),
        ((), {"shift": True}, False),
        ((2.0,), {}, False),
        ((), {"times": 3}, False),
    ],
)
def test_optional_arguments(args, options, fused, monkeypatch):
    """The fused forward serves those at their defaults, the model's own the others."""
    model = Optional().double().eval()
    converted, _ = convert(model)
    assert inspect.signature(converted.forward) == inspect.signature(model.forward)
    op, calls = ops.bn_relu, []
    monkeypatch.setattr(ops, "bn_relu", lambda *a, **k: calls.append(1) or op(*a, **k))
    torch.testing.assert_close(converted(X, *args, **options), model(X, *args, **options))
    assert bool(calls) == fused
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        converted(X, wrong=1)


def test_buffers_that_a_forward_changes_change():
    """Tracing calls the forward, which must not count."""

    class Counting(Optional):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            return super().forward(x)

    model = Counting().double()
    original = copy.deepcopy(model)
    converted, report = convert(model)
    assert model.calls == 0 and report.changed
    _compare(original, converted, X)
    assert converted.calls == 2


def test_modules_of_this_package_stay():
    block = SoftGatedBlock(8, 8)
    model = nn.Sequential(nn.Conv2d(C, 8, 1), block, nn.BatchNorm2d(8), nn.ReLU()).double()
    original = copy.deepcopy(model)
    converted, report = convert(model)
    assert [c.where for c in report.changed] == ["2"] and block.bn1.num_batches_tracked == 0
    _compare(original, converted, X)
    assert convert(block)[0] is block


class Branching(nn.Module):
    """Control flow on values around a part that can be traced."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.BatchNorm2d(C), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x) if x.sum() > -1e9 else x


class Droppy(nn.Module):
    """Reads its mode, as stochastic depth does."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if self.training else x


def test_where_the_whole_is_not_traceable_its_children_are():
    model = Branching().double()
    original = copy.deepcopy(model)
    converted, report = convert(model)
    assert report.changed[0].where == "part.0"
    assert report.left[0].where == "(model)" and "control flow" in report.left[0].reason
    assert isinstance(converted, Branching) and type(model.part) is nn.Sequential
    _compare(original, converted, X)


def test_a_submodule_that_reads_its_mode_still_does():
    model = nn.Sequential(nn.BatchNorm2d(C), nn.ReLU(), Droppy()).double()
    original = copy.deepcopy(model)
    converted, report = convert(model.eval())
    assert len(report.changed) == 1
    _compare(original, converted, X)


def test_copies_and_pickles_are_converted_and_independent():
    model = nn.Sequential(nn.BatchNorm2d(C), nn.ReLU()).double()
    converted, _ = convert(model)
    for twin in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert type(twin).__name__ == "Sequential" and type(twin).__mro__[1].__name__ == "Converted"
        _compare(copy.deepcopy(model), twin, X)
        assert twin[0].weight is not model[0].weight


def test_sync_batch_norm_put_in_later_runs_as_it_is():
    converted, _ = convert(_residual())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(converted).eval()
    expected = nn.SyncBatchNorm.convert_sync_batchnorm(_residual()).eval()
    expected.load_state_dict(converted.state_dict())
    torch.testing.assert_close(converted(X), expected(X))


def test_a_model_is_asked_for():
    with pytest.raises(InputError, match="model must be a torch.nn.Module, got int"):
        convert(3)  # type: ignore[arg-type]


def _installed(name: str):
    """A package that needs torchvision, whose import raises anything where it does not fit torch."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"needs {name}, see docs/conversion.md: {error}")


def _load_both_ways(original: nn.Module, converted: nn.Module) -> None:
    """Names and values; each model's own weights are moved first, so that a load shows."""
    for source, target in ((original, converted), (converted, original)):
        with torch.no_grad():
            for p in source.parameters():
                p.add_(0.01)
        target.load_state_dict(source.state_dict(), strict=True)
        torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnetv2_18", "densenet121"])
def test_models_of_timm(name):
    model = _installed("timm").create_model(name, num_classes=10).double()
    converted, report = convert(copy.deepcopy(model))
    assert not report.left and len(report.changed) == (17 if name == "resnetv2_18" else 121)
    _load_both_ways(model, converted)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    _compare(model, converted, x, exact=1e-9)


@pytest.mark.slow
def test_a_u_net_of_segmentation_models_pytorch():
    smp = _installed("segmentation_models_pytorch")
    model = smp.Unet("resnet18", encoder_weights=None, classes=2).double()
    converted, report = convert(copy.deepcopy(model))
    assert report.changed
    _load_both_ways(model, converted)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    _compare(model, converted, x, exact=1e-9)
