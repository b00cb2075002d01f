"""Which convolutions of a model are computed by Winograd's algorithm, with the same results."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from convolved import (
    CASES,
    KERNEL,
    Graphs,
    PostActivation,
    PreActivation,
    agree,
    image,
    lived_in,
    needs_kernels,
    one,
)
from programs import C, Program, random_program
from torch import nn
from torch.nn import functional as F

import softgate_ext
from softgate_ext import InputError, convert, explain
from softgate_ext.compiler import softgate
from softgate_ext.models import create_model
from softgate_ext.nn import convolution
from softgate_ext.ops.backend import unavailable
from softgate_ext.ops.processor import Bf16

PAGE = Path(__file__).parents[2] / "docs" / "inference.md"


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
@pytest.mark.parametrize("enabled", [False, True], ids=["weights", "autocast"])
@pytest.mark.parametrize(("how", "kernels"), [("vectors", 7), ("emulated", 7), ("tiles", 0)])
def test_bfloat16(
    how: Bf16, kernels: int, enabled: bool, graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further from float64 than PyTorch's bfloat16; direct where that is not known to be slower."""
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts(how))
    model, x = lived_in(PreActivation()), image(3)
    exact = copy.deepcopy(model).double()(x.double()).detach()
    if not enabled:
        model, x = model.bfloat16(), x.bfloat16()

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        wanted, got = copy.deepcopy(model)(x), convert(model, conv="winograd")(x)
        report = explain(copy.deepcopy(model), x, conv="winograd")
    assert got.dtype == wanted.dtype == torch.bfloat16
    assert (got - exact).norm() < 1.2 * (wanted - exact).norm() < 0.1 * exact.norm()
    assert graphs.count(KERNEL) == 2 * kernels and len(report.winograd) == kernels
    if not kernels:
        words = "direct 7 x: not known to be slower directly in bfloat16 on this processor"
        assert words in str(report)


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
