"""Winograd's convolution against the direct sum in float64, and networks that use it."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fold_networks import NETWORKS, build, furthest, images, input_of, network, results
from seen import Seen
from torch import Tensor, nn
from torch.nn.functional import conv2d

from softgate_ext import InputError, fold, use_backend
from softgate_ext.inference.winograd import WinogradConv
from softgate_ext.nn import convolution
from softgate_ext.ops.backend import unavailable
from softgate_ext.ops.conv3x3 import transformed
from softgate_ext.ops.processor import Bf16

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)

# (N, I, O, H, W, groups): whole and partial tiles, vectors, panels and blocks.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 4, 4, 1),
    (1, 16, 16, 5, 9, 1),
    (2, 17, 33, 7, 13, 1),
    (1, 36, 36, 16, 16, 1),
    (3, 24, 12, 8, 6, 4),
    (1, 144, 72, 32, 32, 1),
    (2, 288, 144, 8, 8, 4),
    (1, 90, 100, 3, 70, 1),
]


def case(n: int, inputs: int, outputs: int, h: int, w: int, groups: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(n + inputs + outputs + h + w)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=draw)

    return {
        "x": normal(n, inputs, h, w).to(memory_format=torch.channels_last),
        "weight": normal(outputs, inputs // groups, 3, 3) / (9 * inputs / groups) ** 0.5,
        "scale": normal(inputs),
        "shift": normal(inputs),
        "bias": normal(outputs),
    }


@pytest.fixture(params=["vectors", "emulated"])
def multiplying_so(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bf16:
    """As if the processor multiplied bfloat16 so, whatever it does."""
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts(request.param))
    return request.param


def run(t: dict[str, Tensor], groups: int, norm: bool = True, bias: bool = True) -> Tensor:
    scale, shift = (t["scale"], t["shift"]) if norm else (None, None)
    points = transformed(t["weight"], groups)
    outputs = len(t["weight"])
    return torch.ops.softgate.winograd_conv3x3(
        t["x"], points, scale, shift, t["bias"] if bias else None, outputs, groups
    )


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("stored", "bound"), [(torch.float32, 2e-5), (torch.bfloat16, 2**-8)], ids=str
)
def test_it_is_the_convolution(
    shape: tuple[int, ...], norm: bool, stored: torch.dtype, bound: float
) -> None:
    *_, groups = shape
    t = case(*shape)
    t["x"] = t["x"].to(stored)
    x = t["x"].double()
    if norm:
        x = torch.relu(t["scale"].view(-1, 1, 1) * x + t["shift"].view(-1, 1, 1))
    wanted = conv2d(x, t["weight"].double(), t["bias"].double(), padding=1, groups=groups)
    got = run(t, groups, norm)
    assert got.is_contiguous(memory_format=torch.channels_last) and got.dtype == stored
    assert furthest([got.double()], [wanted]) < bound
    if stored == torch.float32:
        without = run(t, groups, norm, bias=False)
        assert torch.equal(without + t["bias"].view(-1, 1, 1), got)


@needs_kernels
def test_its_bits_do_not_depend_on_threads_and_layout() -> None:
    t = case(3, 72, 36, 20, 28, 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run(t, 1)
        torch.set_num_threads(4)
        assert torch.equal(run(t, 1), one)
    finally:
        torch.set_num_threads(before)
    # A block holds the tiles of one image or of several: each image is what it is alone.
    assert torch.equal(run({**t, "x": t["x"][1:2]}, 1), one[1:2])
    assert torch.equal(run({**t, "x": t["x"].contiguous()}, 1), one)


@needs_kernels
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    t = case(1, 4, 4, 12, 12, 1)
    t["x"][0, 1, 6, 6] = value
    t["scale"].fill_(1)
    got = run(t, 1)
    assert not got[0, :, 5:8, 5:8].isfinite().any()
    assert got[0, :, :3, :3].isfinite().all()  # another tile


@needs_kernels
def test_opcheck() -> None:
    t = case(2, 8, 12, 5, 6, 2)
    for norm in ((None, None), (t["scale"], t["shift"])):
        args = (t["x"], transformed(t["weight"], 2), *norm, t["bias"], 12, 2)
        torch.library.opcheck(torch.ops.softgate.winograd_conv3x3.default, args)


@needs_kernels
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(1, 8, 4)}, "x must be 4-D"),
        ({"x": torch.zeros(1, 8, 4, 4).double()}, "x must be float32 or bfloat16, got float64"),
        ({"weight": torch.zeros(2, 36, 1, 4, 8)}, "weight must be float32 of shape"),
        ({"scale": torch.zeros(7)}, r"scale must be float32 of shape \(8,\)"),
        ({"shift": None}, "scale must be given together with shift, got scale alone"),
        ({"bias": torch.zeros(12).double()}, "bias must be float32 of shape"),
        ({"groups": 3}, "groups must divide the channels of x"),
        ({"groups": 0}, "groups must divide the channels of x"),
        ({"channels": -2}, "groups must divide the channels of x"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(change: dict[str, object], words: str) -> None:
    t = case(2, 8, 12, 5, 6, 2)
    given = {**t, "weight": transformed(t["weight"], 2), "channels": 12, "groups": 2, **change}
    with pytest.raises(InputError, match=words):
        torch.ops.softgate.winograd_conv3x3(*given.values())


@pytest.mark.slow
@needs_kernels
def test_narrower_vectors(narrower_vectors: Callable[[str], None]) -> None:
    """Of this file, those that compare values."""
    narrower_vectors("test_it_is_the_convolution")


@pytest.mark.parametrize("name", [*NETWORKS, "block", "same"])
def test_networks_predict_what_they_predict(name: str) -> None:
    model = build(name)
    x = input_of(model)
    folded = fold(model, conv="winograd")
    assert any(isinstance(part, WinogradConv) for part in folded.modules())
    wanted = results(model, x)
    assert furthest(results(folded, x), wanted) < 1e-5
    with use_backend("reference"):  # directly, norms and ReLU included
        assert furthest(results(folded, x), wanted) < 1e-5


@pytest.mark.parametrize("stored", [None, torch.bfloat16], ids=str)
def test_a_change_of_weights_is_seen_by_all_ways_to_convolve(
    stored: torch.dtype | None, multiplying_so: Bf16
) -> None:
    folded, x = fold(build("same"), stored, conv="winograd"), input_of(build("same"))
    held = [t for t in folded.network.conv2.state_dict().values() if t.dim() > 1]
    for value in held:
        before = results(folded, x)
        value.mul_(3.0)
        after = results(folded, x)
        assert furthest(after, before) > 0.1
        with use_backend("reference"):
            assert furthest(results(folded, x), after) < (1e-5 if stored is None else 0.05)


def off(got: list[Tensor], wanted: list[Tensor]) -> float:
    """The norm of the difference, as a share of that of the results."""
    pairs = [(g.double(), w) for g, w in zip(got, wanted, strict=True)]
    whole = sum(float(w.square().sum()) for _, w in pairs)
    return (sum(float((g - w).square().sum()) for g, w in pairs) / whole) ** 0.5


@needs_kernels
@pytest.mark.parametrize("name", [*NETWORKS, "block", "same"])
def test_bfloat16_is_no_less_exact_than_direct(name: str, multiplying_so: Bf16) -> None:
    model = build(name)
    x = input_of(model)
    wanted = results(copy.deepcopy(model).double(), x.double())
    ours, direct = (fold(model, torch.bfloat16, True, conv=c) for c in ("winograd", "direct"))
    with Seen() as seen:
        got = results(ours, x)
    assert "softgate::winograd_conv3x3" in seen.names
    assert all(t.dtype == torch.bfloat16 for t in got)
    assert off(got, wanted) < 1.1 * off(results(direct, x), wanted) < 0.1
    parts = [part for part in ours.modules() if isinstance(part, WinogradConv)]
    assert all(part.points.dtype == torch.float32 for part in parts)


def test_gradients_and_other_dtypes_are_convolved_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network()
    folded = fold(model, conv="winograd")
    x = images(1, 3, 32, 32).requires_grad_()
    folded(x)[-1].sum().backward()
    wanted = images(1, 3, 32, 32).requires_grad_()
    model(wanted)[-1].sum().backward()
    assert x.grad is not None and wanted.grad is not None
    assert furthest([x.grad], [wanted.grad]) < 1e-4
    assert not any(
        isinstance(m, WinogradConv) for m in fold(model, torch.float16, conv="winograd").modules()
    )
    for how in ("tiles", "unknown"):
        monkeypatch.setattr(convolution, "CUTS", convolution.cuts(how))
        half = fold(model, torch.bfloat16, conv="winograd")
        assert not any(isinstance(part, WinogradConv) for part in half.modules())
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            furthest(results(folded, images(1, 3, 32, 32)), results(model, images(1, 3, 32, 32)))
            < 0.1
        )


@needs_kernels
def test_exported_programs_are_loaded_where_the_ops_are(tmp_path: Path) -> None:
    folded, x = fold(build("same"), conv="winograd"), input_of(build("same"))
    torch.save((x, *results(folded, x)), tmp_path / "values.pt")
    torch.export.save(torch.export.export(folded, (x,)), tmp_path / "net.pt2")
    code = (
        "import softgate_ext.ops, torch\n"
        "x, wanted = torch.load('values.pt')\n"
        "program = torch.export.load('net.pt2')\n"
        "assert any('winograd' in str(node.target) for node in program.graph.nodes)\n"
        "torch.testing.assert_close(program.module()(x), wanted)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_convolutions_that_others_look_at_stay() -> None:
    model = build("same")
    seen = []
    model.conv2.register_forward_hook(lambda *args: seen.append(args))
    folded = fold(model, conv="winograd").network
    assert isinstance(folded.conv1, WinogradConv) and type(folded.conv2) is nn.Conv2d
    assert furthest(results(folded, input_of(model)), results(model, input_of(model))) < 1e-5
    assert len(seen) == 2


def test_an_unknown_way_to_convolve_is_refused() -> None:
    with pytest.raises(InputError, match="conv must be 'direct' or 'winograd', got 'fft'"):
        fold(network(), conv="fft")  # type: ignore[arg-type]
