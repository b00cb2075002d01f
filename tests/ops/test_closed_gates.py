"""Where a gate is exactly 0, its channel of x is not read, so that pruned gates save memory traffic."""

from dataclasses import replace

import pytest
import torch
from cases import call, make_inputs
from test_values import KINDS, trainings

from softgate_ext import gated_residual, use_backend
from softgate_ext.ops.backend import is_available


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], autouse=True)
def device(request):
    if not is_available(request.param):
        pytest.skip(f"needs the {request.param} backend")
    with use_backend(request.param):
        yield request.param


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "norm"])
@trainings
def test_x_of_a_closed_gate_is_not_read(kind, training, device):
    """NaN would show. In channels_last only whole packs of closed gates are left out."""
    case = replace(KINDS[kind], device=device, training=training)
    inputs = make_inputs(case)
    inputs.alpha[::2] = 0
    poisoned = inputs.cast()
    with torch.no_grad():
        poisoned.x[:, ::2] = torch.nan
        want, got = call(case, inputs.cast()), call(case, poisoned)
    for a, b in zip(want, got, strict=True):
        assert b is None or torch.isfinite(b).all()
        torch.testing.assert_close(b, a, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_gate_for_all_and_large_tensors(dtype, device):
    x = torch.full((8, 16, 64, 96), torch.nan, dtype=dtype, device=device)
    f = torch.randn(x.shape, device=device).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert torch.equal(gated_residual(x, f, torch.zeros(1, dtype=wide, device=device)), f)
