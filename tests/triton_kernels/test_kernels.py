"""Values and gradients of the Triton kernels against the float64 oracle.

The whole contract is in ``test_parity.py``; here is one case of each kind, and what only these
kernels have: tiles, groups, and offsets of 64 bits.
"""

from dataclasses import replace

import pytest
import test_values
import torch
from cases import Case, call, check, make_inputs, outputs_and_gradients
from softgate_ext.triton_kernels import launch

layouts = pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])

CASES = [
    Case(),
    Case(norm=False, split=(5, 3), alpha="block"),
    Case(training=False, split=(8,), affine=False),
    Case(training=False, relu=False, dtype=torch.bfloat16),
    Case(split=(1, 2, 3, 2), dtype=torch.float16),
    Case(size=(2, 5, 7, 3), split=(2, 3), alpha=None, running=False),
    Case(size=(1, 1, 3, 5), split=(1,)),
    Case(size=(2, 65, 2, 3), split=(33, 32), dtype=torch.bfloat16),
    Case(plain=True, dtype=torch.float64),
    Case(plain=True, training=False, size=(2, 3, 5, 1)),
    Case(merge="concat", split=(), low_channels=3),
    Case(merge="concat", training=False, norm=False, alpha="block"),
    Case(merge="concat", dtype=torch.bfloat16, low_channels=5),
    Case(merge="concat", dtype=torch.float64, size=(2, 3, 2, 4), split=(1, 1, 1), low_channels=3),
    Case(merge="add", split=(), alpha=None),
    Case(merge="add", training=False, relu=False),
    Case(merge="add", dtype=torch.float16, affine=False),
    Case(merge="add", norm=False, split=(), alpha="block"),
]


@layouts
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, last, device):
    check(replace(case, channels_last=last, device=device))


def two_groups(case: Case, monkeypatch) -> launch.Plan:
    """Limits the programs to two groups for tensors of the case's size."""
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    n, c, h, w = case.size
    like = torch.empty(0, dtype=case.dtype, device=case.device)
    monkeypatch.setattr(launch, "_groups", lambda tiles_c, wave: 2)
    launch._cached_plan.cache_clear()
    return launch.plan_of("reduce", (n, case.channels, h, w), layout, like)


@pytest.fixture
def small_tiles(device):
    """Tiles of 512 bytes, so that small tensors take several."""
    tile = launch.Tile(1, 1)
    with launch.use_tiles({"stream": tile, "reduce": tile}):
        yield device
    launch._cached_plan.cache_clear()


TILED = [
    Case(size=(3, 8, 10, 14)),
    Case(plain=True, size=(3, 8, 10, 14)),
    Case(merge="concat", size=(2, 8, 28, 10), alpha="block"),
    Case(merge="add", size=(2, 8, 28, 20), dtype=torch.bfloat16),
]


@pytest.mark.slow
@pytest.mark.proof("triton")
@layouts
@pytest.mark.parametrize("case", TILED, ids=str)
def test_several_groups_of_several_tiles(case, last, small_tiles, monkeypatch):
    case = replace(case, channels_last=last, device=small_tiles)
    plan = two_groups(case, monkeypatch)
    assert plan.groups == 2
    assert plan.steps > 1
    first, second = check(case), check(case)
    assert all(torch.equal(first[name], second[name]) for name in first)


@layouts
@pytest.mark.parametrize("case", TILED[:3], ids=str)
def test_offsets_of_64_bits(case, last, monkeypatch, device):
    monkeypatch.setattr(launch, "WIDE_FROM", 1)
    launch._cached_plan.cache_clear()
    try:
        check(replace(case, channels_last=last, device=device))
    finally:
        launch._cached_plan.cache_clear()


@layouts
def test_mean_far_above_deviation(last, small_tiles, monkeypatch):
    """Mean 1e4, deviation 1: across positions, tiles and groups."""
    case = Case(size=(3, 4, 10, 14), split=(2, 2), mean=1e4, alpha=None, channels_last=last)
    case = replace(case, device=small_tiles)
    two_groups(case, monkeypatch)
    i = make_inputs(case)
    y, z = call(case, i.cast())
    affine = (i.weight.double(), i.bias.double())
    exact = torch.nn.functional.batch_norm(y.double(), None, None, *affine, True).relu()
    assert float((z - exact).detach().abs().max()) < 5e-3


@pytest.mark.parametrize("kind", ["residual_norm", "concat_norm"])
def test_shared_bodies(kind, device):
    """Empty batch, NaN, strides and expanded gradients, for the kinds with most code."""
    for size in ((0, 8, 4, 6), (2, 8, 0, 6), (2, 8, 4, 0)):
        test_values.test_no_values(kind, True, size, device)
    test_values.test_nan_passes_through(kind, device)
    test_values.test_expanded_gradient(kind, device)
    for variant in range(3):
        test_values.test_strides(kind, False, variant, device)


@layouts
def test_square_of_the_mean_overflows(last, device):
    test_values.test_square_of_the_mean_overflows(3e19, last, device)


def test_nan_in_training_fills_its_channel(device):
    """As in torch, also where the variance itself is not a number."""
    case = Case(device=device)
    inputs = make_inputs(case).cast()
    inputs.x.data[0, 2, 0, 0] = float("nan")
    z = call(case, inputs)[1]
    assert torch.isnan(z[:, 2]).all()
    assert int(torch.isnan(z).sum()) == z[:, 2].numel()


@pytest.mark.parametrize("wanted", ["x", "alpha", "weight", "low", "branches[0]"])
def test_only_the_wanted_gradient(wanted, device):
    case = Case(merge="concat", device=device)
    inputs = make_inputs(case).cast()
    everything = outputs_and_gradients(case, *call(case, inputs), inputs)
    inputs = make_inputs(case).cast()
    for name, t in inputs.differentiable().items():
        t.requires_grad_(name == wanted)
    y, z = call(case, inputs)
    leaf = inputs.differentiable()[wanted]
    (got,) = torch.autograd.grad([y, z], [leaf], [inputs.dy, inputs.dz])
    torch.testing.assert_close(got, everything[f"d{wanted}"])
