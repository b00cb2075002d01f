"""The torch.compile backend by its name, its options, and the output of `explain`."""

import copy
import subprocess
import sys
import threading

import pytest
import torch
from comparison import Block, C, Fusions, X, blocks, compare
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch.utils.checkpoint import checkpoint

from softgate_ext import InputError, convert, explain, use_backend
from softgate_ext.compiler import softgate
from softgate_ext.models import create_model


def test_torch_finds_the_backend_of_an_installed_package():
    """Without an import of it, by its entry point."""
    code = (
        "import sys, torch; assert 'softgate_ext' not in sys.modules;"
        "m = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.ReLU());"
        "m.compile(backend='softgate'); m(torch.randn(2, 3, 4, 4));"
        "assert 'softgate_ext.compiler' in sys.modules; print(torch._dynamo.list_backends())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "'softgate'" in done.stdout, done.stderr


@pytest.mark.parametrize("how", ["torch.compile", "method", "function"])
def test_ways_to_compile(how, fusions: Fusions):
    model = blocks(1)
    original = copy.deepcopy(model)
    if how == "torch.compile":
        model = torch.compile(model, backend="softgate", fullgraph=True)
    elif how == "method":
        model.compile(backend="softgate")
    else:
        block = model
        model = torch.compile(lambda x: block(x) * 1, backend="softgate", fullgraph=True)
    torch.testing.assert_close(model(X), original(X))
    assert fusions.count == 2


def test_dynamic(fusions: Fusions):
    model = nn.Sequential(nn.Conv2d(C, C, 1), Block(), Merge()).double()
    original = copy.deepcopy(model)
    convert(model, dynamic=True, fullgraph=True)
    for n, h, w in ((3, 8, 10), (2, 6, 4), (5, 10, 14)):
        compare(original, model, torch.randn(n, C, h, w, dtype=torch.float64))
    assert fusions.graphs == 1 and fusions.count == 4, str(fusions.report)


class Merge(nn.Module):
    """Upsampling to a size that is the skip's."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(C, C, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(2 * C)

    def forward(self, x):
        low = nn.functional.interpolate(self.down(x), size=x.shape[-2:])
        return self.bn(torch.cat([x, low], 1)).relu()


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
def test_inductor_gets_the_rewritten_graph(dynamic, fusions: Fusions):
    model = blocks(2).to(memory_format=torch.channels_last)
    original = copy.deepcopy(model)
    convert(model, then="inductor", dynamic=dynamic, fullgraph=True)
    compare(original, model, X, modes=(True, False), exact=1e-9)
    compare(original, model, X[:, :, :4], modes=(True, False), exact=1e-9)
    assert fusions.count >= 8


@pytest.mark.slow
def test_checkpoints_reach_inductor(fusions: Fusions):
    class Checkpointed(Block):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    model = nn.Sequential(nn.Conv2d(C, C, 1), Checkpointed(), Block()).double()
    original = copy.deepcopy(model)
    for m in (original, convert(model, then="inductor")):
        m(X).square().sum().backward()
    for name, p in original.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, p.grad, msg=name)
    assert fusions.count == 4 and fusions.graphs == 1


@pytest.mark.slow
def test_options_of_the_next_backend():
    model = blocks(1)
    original = copy.deepcopy(model)
    model.compile(backend="softgate", options={"then": "inductor", "max_fusion_size": 8})
    compare(original, model, X)
    model.compile(backend="softgate", options={"then": "inductor", "wrong": 8})
    with pytest.raises(BackendCompilerFailed, match="wrong"):
        model(X[:1])


def test_another_backend_gets_the_rewritten_graph(fusions: Fusions):
    model = blocks(1)
    original = copy.deepcopy(model)
    compare(original, convert(model, then="aot_eager"), X)
    assert fusions.count == 2


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"options": {"max_autotune": True}}, "got 'max_autotune' without 'then'"),
        ({"options": {"then": 3}}, "must be the name of another backend, got 3"),
        ({"options": {"then": "softgate"}}, "must be the name of another backend, got 'softgate'"),
        ({"options": {"then": "none"}}, "must be the name of another backend, got 'none'"),
        ({"options": "then"}, "options must be a dict, got str"),
        ({"mode": "max-autotune"}, "mode must not be given to backend 'softgate'"),
    ],
)
def test_wrong_options_are_said(arguments, sentence):
    with pytest.raises(InputError, match=sentence.replace("[", r"\[")):
        softgate(torch.fx.symbolic_trace(nn.ReLU()), [], **arguments)


def test_a_backend_forced_by_name(fusions: Fusions):
    model = convert(blocks(1).eval())
    with use_backend("reference"):
        expected = model(X)
    torch.testing.assert_close(model(X), expected)
    assert fusions.count == 2


@pytest.mark.parametrize(
    "name", ["hybrid_1x32", pytest.param("hourglass_1x48", marks=pytest.mark.slow)]
)
def test_networks_of_this_package(name, fusions: Fusions):
    """They have their own fused modules, which are left alone."""
    model, x = create_model(name).double(), torch.randn(1, 3, 128, 128, dtype=torch.float64)
    expected = copy.deepcopy(model)(x)
    torch.testing.assert_close(convert(model)(x), expected)
    assert not fusions.count and fusions.graphs == 1


class Last(Block):
    def forward(self, x):
        return self.bn1(super().forward(x) + 1)


class Breaking(Block):
    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)


def test_explain_says_where_a_graph_ends():
    report = explain(nn.Sequential(Block(), Breaking()).double(), X)
    assert report.graphs > 1 and "graph_break()" in str(report).splitlines()[-1]


def test_explain(capsys):
    model = nn.Sequential(nn.Conv2d(C, C, 1), Block(), Block(), Last(), nn.Dropout()).double()
    state = copy.deepcopy(model.state_dict())
    drawn, x = torch.get_rng_state(), X.clone()
    report = explain(model, x)
    assert capsys.readouterr().out == f"{report}\n"
    lines = str(report).splitlines()
    assert lines == [
        "fused 6, left 2, in 1 graph",
        "  4 x BatchNorm, ReLU (first: 1.bn1)",
        "  2 x add, BatchNorm, ReLU (first: 2.bn1)",
        "  left 1 x: one summand is a number (first: 3)",
        "  left 1 x: neither an addition before the norm nor a ReLU after it (first: 3.bn1)",
    ]
    assert model._compiled_call_impl is None and torch.equal(torch.get_rng_state(), drawn)
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close(x, X, rtol=0, atol=0)


def test_explain_takes_what_another_module_returns():
    features = nn.Conv2d(C, C, 1).double()(X)
    assert len(explain(Block().double(), features).fused) == 2 and features.grad_fn is not None


def test_explain_asks_for_a_model():
    with pytest.raises(InputError, match="model must be a torch.nn.Module, got int"):
        explain(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got its OptimizedModule"):
        explain(torch.compile(blocks(1), backend="eager"), X)
    with pytest.raises(InputError, match="got a RecursiveScriptModule of torch.jit"):
        explain(torch.jit.script(nn.ReLU()), X)


def test_explain_asks_for_what_can_be_copied():
    model = blocks(1)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match="got Sequential .*lock"):
        explain(model, X)
