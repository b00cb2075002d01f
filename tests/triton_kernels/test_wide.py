"""Activations of about 2**31 values: offsets are computed for their shapes, and no memory is allocated."""

import pytest
import torch
import triton
import triton.language as tl
from softgate_ext.triton_kernels import launch
from softgate_ext.triton_kernels.autotune import CANDIDATES
from softgate_ext.triton_kernels.tile import begin

LAYOUTS = [torch.contiguous_format, torch.channels_last]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])


@triton.jit(do_not_specialize=launch.SIZES)
def _sizes(out, channels, plane, count, DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr):
    channels, plane, count, _, _, _ = begin(channels, plane, count, DIV, LAST, WIDE, 1)
    tl.store(out, channels)
    tl.store(out + 1, plane)
    tl.store(out + 2, count)


@layouts
@pytest.mark.parametrize("children", [1, 2])
@pytest.mark.parametrize("shape", [(2, 1, 1 << 15, 1 << 15), (40, 2, 1 << 13, 1 << 13)], ids=str)
def test_sizes_beyond_32_bits(shape, children, layout, device):
    """Their units fit into 32 bits, and they do not."""
    n, c, h, w = shape
    n *= children
    plan = launch.plan_of(
        "stream", (n, c, h, w), layout, torch.empty(0, dtype=torch.float16), children
    )
    out = torch.zeros(3, dtype=torch.int64, device=device)
    _sizes[(1,)](out, *plan.sizes, *plan.layout)
    apart = 1 if plan.layout[1] else children
    assert out.tolist() == [c, h * w // apart, n * h * w // children]


@layouts
@pytest.mark.parametrize("many", [132, 304])
@pytest.mark.parametrize("wave", [32, 64])
@pytest.mark.parametrize("kind", ["stream", "reduce"])
def test_positions_past_the_end_stay_in_32_bits(kind, wave, many, layout, monkeypatch):
    """The last program counts past the end, and a whole tile is added to what is rounded up."""
    monkeypatch.setattr(launch, "WAVE", wave)
    narrow = 0
    for tile in CANDIDATES:
        for missing in (1, 1 << 12, 1 << 20, 1 << 23, 1 << 25):
            for c in (1, 2, 3):
                shape = (1, c, 1, ((1 << 31) - missing) // c)
                plan = launch._plan(
                    tile,
                    kind,
                    *shape,
                    layout == torch.channels_last,
                    torch.float16.itemsize,
                    1,
                    many,
                )
                reach = (plan.groups * (plan.steps or 1) + 1) * plan.blocks[1]
                narrow += not plan.layout[2]
                assert plan.layout[2] or reach < 1 << 31, (tile, shape)
    assert narrow


@layouts
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("children", [1, 4])
@pytest.mark.parametrize(
    "shape", [(32, 256, 64, 64), (32, 144, 64, 64), (16, 288, 64, 64)], ids=str
)
@pytest.mark.parametrize("many", [78, 108, 132, 144])
def test_reductions_fill_whole_waves(many, shape, children, dtype, layout):
    """But for what a whole number of tiles, and of groups, cannot fill."""
    last = layout == torch.channels_last
    plan = launch._plan(None, "reduce", *shape, last, dtype.itemsize, children, many)
    wave = many * launch.HELD[dtype.itemsize == 4, last, children > 1]
    waves = launch.cdiv(plan.grid[0], wave)
    tiles_c = plan.grid[0] // plan.groups
    tiles_q = launch.cdiv(plan.sizes[2] * (1 if last else plan.layout[0]), plan.blocks[1])
    best = launch.cdiv(tiles_q * tiles_c, wave)  # tiles that each of them visits at least
    assert waves * plan.steps <= 1.13 * best + 1
