"""Winograd's convolutions in models of others: where they are, and that the numbers stay."""

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comparison import Block
from programs import C, Program, random_program
from torch import Tensor, nn
from torch.nn import functional as F

import softgate_ext
from softgate_ext import InputError, convert, explain, use_backend
from softgate_ext.compiler import dynamo, packing, softgate
from softgate_ext.compiler.packing import Packing
from softgate_ext.models import create_model
from softgate_ext.ops.backend import unavailable

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)
PAGE = Path(__file__).parents[2] / "docs" / "inference.md"
KERNEL = torch.ops.softgate.winograd_conv3x3


class PreActivation(nn.Module):
    """A residual network as people write it: a stem, blocks of two widths, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1, self.block2 = Block(16), Block(16)
        self.down = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.block3 = Block(24)
        self.norm = nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.block1(self.stem(x)))
        x = F.relu(self.norm(self.block3(self.down(x))))
        return self.head(x.mean((2, 3)))


class PostActivation(nn.Module):
    """Norms after convolutions, a ReLU and a sum in place, and a view of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x
        return self.relu(out).view(len(x), -1)


def lived_in(model: nn.Module) -> nn.Module:
    """With the statistics of some training, in evaluation."""
    draw = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value, low, high in (
                (norm.running_mean, -1, 1),
                (norm.running_var, 0.5, 2),
                (norm.weight, -1, 1),
                (norm.bias, -1, 1),
            ):
                if value is not None:
                    nn.init.uniform_(value, low, high, generator=draw)
    return model.eval()


def image(channels: int, *size: int) -> Tensor:
    shape = (2, channels, *(size or (12, 9)))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def agree(got: Tensor, wanted: Tensor) -> None:
    assert got.stride() == wanted.stride() and got.dtype == wanted.dtype
    atol = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(got, wanted, rtol=0, atol=atol)


class Graphs:
    """What becomes of the graphs that Dynamo traced while a test runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.graphs: list[torch.fx.GraphModule] = []
        self.made = 0
        rewrite, made = dynamo.use_winograd, Packing.made

        def seen(graph: torch.fx.GraphModule, report: Any) -> Any:
            self.graphs.append(graph)
            return rewrite(graph, report)

        def counted(one: Packing, inputs: Any) -> Any:
            self.made += not isinstance(inputs[one.weight], torch._subclasses.FakeTensor)
            return made(one, inputs)

        monkeypatch.setattr(dynamo, "use_winograd", seen)
        monkeypatch.setattr(Packing, "made", counted)

    def count(self, *targets: Any) -> int:
        """Steps of the graphs that call one of these."""
        return sum(node.target in targets for graph in self.graphs for node in graph.graph.nodes)

    @property
    def with_norm(self) -> int:
        """Kernels that compute a norm as they load."""
        found = (node for graph in self.graphs for node in graph.graph.nodes)
        return sum(node.target is KERNEL and node.args[2] is not None for node in found)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    return Graphs(monkeypatch)


@needs_kernels
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pre_activation(layout: torch.memory_format, graphs: Graphs) -> None:
    model = lived_in(PreActivation()).to(memory_format=layout)
    x = image(3).contiguous(memory_format=layout)
    with torch.no_grad():
        wanted = model(x)
        agree(convert(model, conv="winograd", fullgraph=True)(x), wanted)
    # Each norm within a block is its convolution's, so that no sum writes its norm but the last.
    assert graphs.count(KERNEL) == 7 and graphs.with_norm == 6
    assert graphs.count(F.batch_norm, F.conv2d) == 1


@needs_kernels
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_post_activation(layout: torch.memory_format, graphs: Graphs) -> None:
    """A norm after a convolution is in its weights; the layout is the one that a view wants."""
    model = lived_in(PostActivation()).to(memory_format=layout)
    if layout is torch.channels_last:
        model = nn.Sequential(model.conv1, model.norm1, nn.ReLU(), model.conv2, model.norm2)
    x = image(6).contiguous(memory_format=layout)
    with torch.inference_mode():
        wanted = model(x)
        agree(convert(model, conv="winograd")(x), wanted)
    assert graphs.count(KERNEL) == 2 and graphs.with_norm == 1
    assert graphs.count(F.batch_norm, F.conv2d) == 0
    assert graphs.count("contiguous") == (layout is torch.contiguous_format)


def one(**options: Any) -> nn.Module:
    return nn.Conv2d(
        **{"in_channels": 4, "out_channels": 8, "kernel_size": 3, "padding": 1, **options}
    )


class Computed(nn.Module):
    """A weight that is made in the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), padding=1)


class Written(nn.Module):
    """A weight that the pass writes behind PyTorch's back, after its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = one()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.conv.weight.data.mul_(1.5)
        return y


class Twice(nn.Module):
    """A norm that a convolution and a sum read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.norm(x))
        return self.conv(z) + z


class Between(Twice):
    """What is normalised is written before the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        z = F.relu(self.norm(x))
        x.mul_(3)
        return self.conv(z) + x


CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "plain": (one, 1, 0),
    "same": (lambda: one(padding="same"), 1, 0),
    "groups": (lambda: one(groups=2, bias=False), 1, 0),
    "norm without weights": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.ReLU(), one()), 1, 1,
    ),
    "norm without ReLU": (lambda: nn.Sequential(nn.BatchNorm2d(4), one()), 1, 0),
    "norm of the batch": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), one()), 0, 0,
    ),
    "norm for two": (Twice, 1, 0),
    "norm of what is written": (Between, 1, 0),
    "computed weight": (Computed, 0, 0),
    "written weight": (Written, 0, 0),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(one()), 0, 0),
    "stride": (lambda: one(stride=2), 0, 0),
    "dilation": (lambda: one(dilation=2, padding=2), 0, 0),
    "no border": (lambda: one(padding=0), 0, 0),
    "reflected border": (lambda: one(padding_mode="reflect"), 0, 0),
    "1x1": (lambda: one(kernel_size=1, padding=1), 0, 0),
    "float64": (lambda: one(dtype=torch.float64), 0, 0),
    "frozen": (lambda: one().requires_grad_(False), 1, 0),
}  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("name", CASES)
def test_what_is_replaced(name: str, graphs: Graphs) -> None:
    make, kernels, norms = CASES[name]
    torch.manual_seed(0)
    model = lived_in(make())
    x = image(4).to(next(model.parameters()).dtype)
    twin = copy.deepcopy(model)
    convert(model, conv="winograd")
    with torch.set_grad_enabled(name == "frozen"):
        for _ in range(2):
            agree(model(x), twin(x))
    assert graphs.count(KERNEL) == kernels and graphs.with_norm == norms


@needs_kernels
def test_autocast_stays_direct(graphs: Graphs) -> None:
    model, x = one().eval(), image(4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = model(x)
        torch.testing.assert_close(convert(model, conv="winograd")(x), wanted)
    assert graphs.count(KERNEL) == 0


@needs_kernels
@pytest.mark.parametrize("training", [True, False])
def test_where_a_gradient_is_wanted_nothing_changes(training: bool, graphs: Graphs) -> None:
    """Bit for bit: outputs, gradients and statistics."""
    direct = lived_in(PreActivation()).train(training)
    winograd = copy.deepcopy(direct)
    results = []
    for model, conv in ((direct, "direct"), (winograd, "winograd")):
        out = convert(model, conv=conv)(image(3))  # type: ignore[arg-type]
        out.square().sum().backward()
        results.append([out, *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len(graphs.graphs) == 1 and graphs.count(KERNEL) == 0


@needs_kernels
@pytest.mark.parametrize(
    "make",
    [PreActivation, lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Dropout())],
)
def test_training_without_gradients_is_training(make: Any, graphs: Graphs) -> None:
    with torch.no_grad():
        convert(make().train(), conv="winograd")(image(3))
    assert len(graphs.graphs) == 1 and graphs.count(KERNEL) == 0


@needs_kernels
def test_changed_weights_are_seen(graphs: Graphs) -> None:
    model = lived_in(PreActivation())
    twin, x = copy.deepcopy(model), image(3)
    convert(model, conv="winograd")

    def same() -> None:
        with torch.no_grad():
            agree(model.eval()(x), twin.eval()(x))

    same()
    made = graphs.made
    assert made == 7
    same()
    with torch.no_grad():
        model(image(3, 6, 6))  # another graph
    assert graphs.made == made and graphs.count(KERNEL) == 14
    for net in (model, twin):
        with torch.no_grad():
            net.block1.conv1.weight.mul_(2)
            net.block2.bn1.running_mean.add_(1)
            net.block3.bn2.bias = nn.Parameter(torch.ones(24))
    same()
    assert graphs.made == made + 3
    for net in (model, twin):
        net.train()(x)  # the statistics of every norm
        net.block1.conv2.weight.data = net.block1.conv2.weight.data + 1
    same()
    other = lived_in(PreActivation())
    for net in (model, twin):
        net.load_state_dict(other.state_dict())
    same()
    for net in (model, twin):
        net.load_state_dict(copy.deepcopy(lived_in(PreActivation()).state_dict()), assign=True)
        torch.manual_seed(0)
        nn.init.normal_(net.stem.weight)
        nn.init.normal_(net.block1.conv1.weight)
    twin.load_state_dict(model.state_dict())
    same()


@needs_kernels
def test_what_is_made_goes_with_the_model() -> None:
    gc.collect()
    before = len(packing._made)
    model = convert(one().eval(), conv="winograd")
    with torch.no_grad():
        model(image(4))
    assert len(packing._made) == before + 1
    del model
    torch._dynamo.reset()
    gc.collect()
    assert len(packing._made) == before


@needs_kernels
def test_weights_whose_changes_nobody_counts(graphs: Graphs) -> None:
    with torch.inference_mode():
        model = one().eval()
        twin, x = copy.deepcopy(model), image(4)
        convert(model, conv="winograd")
        agree(model(x), twin(x))
        for net in (model, twin):
            net.weight.mul_(2)
        agree(model(x), twin(x))
    assert graphs.made == 0


@needs_kernels
def test_another_backend_convolves_directly(graphs: Graphs) -> None:
    model = lived_in(PreActivation())
    twin, x = copy.deepcopy(model), image(3)
    convert(model, conv="winograd")
    with torch.no_grad():
        with use_backend("reference"):
            agree(model(x), twin(x))
        assert graphs.made == 0
        agree(model(x), twin(x))
        assert graphs.made == 7 and len(graphs.graphs) == 1


@needs_kernels
def test_any_size_in_one_graph(graphs: Graphs) -> None:
    model = lived_in(
        nn.Sequential(one(), nn.BatchNorm2d(8), nn.ReLU(), one(in_channels=8, groups=2))
    )
    twin = copy.deepcopy(model)
    convert(model, conv="winograd", dynamic=True, fullgraph=True)
    with torch.no_grad():
        for size in ((8, 10), (5, 7), (16, 12)):
            agree(model(image(4, *size)), twin(image(4, *size)))
    assert len(graphs.graphs) == 1 and graphs.count(KERNEL) == 2


@needs_kernels
@pytest.mark.parametrize("then", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [PreActivation, PostActivation])
def test_the_next_backend_gets_them(make: Any, then: str, graphs: Graphs) -> None:
    model = lived_in(make())
    x = image(3 if make is PreActivation else 6)
    twin = copy.deepcopy(model)
    model = torch.compile(model, backend="softgate", options={"conv": "winograd", "then": then})
    with torch.no_grad():
        agree(model(x), twin(x))
        for net in (model, twin):
            next(net.parameters()).mul_(0.5)
        agree(model(x), twin(x))
    assert graphs.count(KERNEL) and graphs.made


@needs_kernels
@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 80), marks=pytest.mark.slow)])
def test_random_programs(seeds: range, graphs: Graphs) -> None:
    for seed in seeds:
        program = random_program(seed).float().eval()
        program.steps.insert(len(program.steps) // 2, ("conv", 1, 0, 1))
        program.norms.append(nn.BatchNorm2d(C).eval())
        twin, x = copy.deepcopy(program), image(C, 6, 6)
        torch._dynamo.reset()
        with torch.no_grad():
            try:
                wanted = twin(x.clone()), twin(x.clone())
            except RuntimeError:
                continue  # steps that do not fit each other
            convert(program, conv="winograd")
            for values in wanted:
                for got, one in zip(program(x.clone()), values, strict=True):
                    assert got.stride() == one.stride()
                    scale = max(1.0, float(one.abs().max()))
                    torch.testing.assert_close(got, one, rtol=0, atol=1e-4 * scale)
    assert graphs.count(KERNEL) > len(seeds)


CHAINS = {
    "a norm for two convolutions": ([("norm, ReLU", 1, 0, 3), ("conv", 3, 0, 4), ("conv", 3, 0, 5)], 0),
    "a sum, its norm and a convolution": ([("add, norm, relu", 1, 2, 3), ("conv", 3, 0, 3)], 1),
    "a merge and a convolution": ([("merge", 1, 2, 3), ("norm, ReLU", 3, 0, 4), ("conv", 4, 0, 4)], 1),
    "a weight of the norm written later": (
        [("norm 0, ReLU", 1, 0, 3), ("conv", 3, 0, 3), ("weight", 1, 0, 4)], 0,
    ),
    "statistics written later": (
        [("norm 0, ReLU", 1, 0, 3), ("conv", 3, 0, 3), ("statistics", 1, 0, 4)], 0,
    ),
}  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("name", CHAINS)
def test_chains_before_a_convolution(name: str, graphs: Graphs) -> None:
    steps, norms = CHAINS[name]
    program = lived_in(Program(steps))
    twin, x = copy.deepcopy(program), image(C, 6, 6)
    convert(program, conv="winograd")
    with torch.no_grad():
        for _ in range(2):
            for got, wanted in zip(program(x), twin(x), strict=True):
                agree(got, wanted)
    assert graphs.count(KERNEL) > 2 and graphs.with_norm == norms


@needs_kernels
def test_the_code_of_the_page(graphs: Graphs, capsys: pytest.CaptureFixture[str]) -> None:
    section = PAGE.read_text(encoding="utf-8").split("### Models of others\n")[1]
    code = section.split("```python\n")[1].split("```")[0]
    model, images = PreActivation(), image(3)
    names = {"softgate_ext": softgate_ext, "torch": torch, "model": model, "images": images}
    with torch.no_grad():
        wanted = copy.deepcopy(model).eval()(images)
    exec(code, names)
    agree(names["output"], wanted)  # type: ignore[arg-type]
    assert "7 of 8 convolutions by Winograd" in capsys.readouterr().out
    assert len(graphs.graphs) == 2 and graphs.count(KERNEL) == 14


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    model, x = lived_in(PreActivation()), image(3)
    if unavailable("cpu") is None:
        with torch.no_grad():
            report = explain(model, x, conv="winograd")
        assert len(report.winograd) == 7 and len(report.direct) == 1
        assert str(report).splitlines()[-2:] == [
            "  7 of 8 convolutions by Winograd (first: stem)",
            "  direct 1 x: not 3x3 with stride 1 and a border of 1 (first: down)",
        ]
    explain(model, x, conv="winograd")
    assert "  direct 7 x: a gradient is wanted (first: stem)" in capsys.readouterr().out
    with torch.no_grad():
        explain(model.train(), x, conv="winograd")
        assert "direct 7 x: a batch norm or dropout is in training" in capsys.readouterr().out
        assert not explain(model.eval(), x).direct
        hybrid = create_model("hybrid_1x32").train()
        assert not explain(hybrid, image(3, 64, 64), conv="winograd").winograd


@pytest.mark.parametrize("conv", [None, "Winograd", 3])
def test_another_way_to_convolve(conv: Any) -> None:
    words = f"^conv must be 'direct' or 'winograd', got {conv!r}$"
    with pytest.raises(InputError, match=words):
        convert(one(), conv=conv)
    with pytest.raises(InputError, match=words):
        explain(one(), image(4), conv=conv)
    with pytest.raises(InputError, match=words):
        softgate(torch.fx.symbolic_trace(one()), [], options={"conv": conv})
