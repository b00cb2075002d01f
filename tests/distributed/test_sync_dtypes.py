"""The synchronised op in half precision, under autocast and in both layouts."""

import pytest
import torch
from ranks import run
from torch import Tensor, nn

from softgate_ext import use_backend
from softgate_ext.nn import SoftGatedBlock, bn_relu

SIZES = (3, 0, 2)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CHANNELS = 6


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Far from zero, where sums in half precision would lose the variance."""
    generator = torch.Generator().manual_seed(1)
    x = 30 + torch.randn(sum(SIZES), CHANNELS, 6, 4, generator=generator)
    return x.to(dtype), torch.randn(x.shape, generator=generator).to(dtype)


def norm() -> nn.Module:
    module = nn.BatchNorm2d(CHANNELS)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.5, 1.5, CHANNELS))
        module.bias.copy_(torch.linspace(-0.5, 0.5, CHANNELS))
    return module


def expected(dtype: torch.dtype) -> dict[str, Tensor]:
    """One process on the joined batch, in float64."""
    x, dz = (t.double() for t in batch(dtype))
    module = norm().double()
    z = module(x.requires_grad_()).relu()
    z.backward(dz)
    return results(x, z, module)


def results(x: Tensor, z: Tensor, module: nn.Module) -> dict[str, Tensor]:
    named = {
        "z": z.detach(),
        "dx": x.grad,
        "dweight": module.weight.grad,
        "dbias": module.bias.grad,
    }
    return named | {k: v for k, v in module.named_buffers() if v.is_floating_point()}


def synchronised(
    part: slice, dtype: torch.dtype, layout: torch.memory_format, backend: str
) -> dict[str, Tensor]:
    module = nn.SyncBatchNorm.convert_sync_batchnorm(norm())
    x, dz = (t[part].contiguous(memory_format=layout) for t in batch(dtype))
    with use_backend(backend):
        z = bn_relu(x.requires_grad_(), module)
        z.backward(dz)
    if len(x):
        assert all(t.is_contiguous(memory_format=layout) for t in (z, x.grad))
    return results(x, z, module)


def autocast(part: slice | None, dtype: torch.dtype) -> dict[str, Tensor]:
    """A block with float32 parameters on half features; `part` None is one process."""
    torch.manual_seed(0)
    block: nn.Module = SoftGatedBlock(8, 8, alpha_init=0.5)
    if part is not None:
        block = nn.SyncBatchNorm.convert_sync_batchnorm(block)
    generator = torch.Generator().manual_seed(2)
    x, dy = torch.randn(2, sum(SIZES), 8, 6, 4, generator=generator).to(dtype).unbind()
    part = slice(None) if part is None else part
    with torch.autocast("cpu", dtype=dtype):
        y = block(x[part])
        y.backward(dy[part])
    grads = {n: p.grad for n, p in block.named_parameters()}
    buffers = {n: b for n, b in block.named_buffers() if b.is_floating_point()}
    assert {t.dtype for t in (*grads.values(), *buffers.values())} == {torch.float32}
    return {"y": y.detach(), **buffers, **grads}


def on_rank(rank: int) -> dict:
    part = slice(sum(SIZES[:rank]), sum(SIZES[: rank + 1]))
    found: dict = {}
    for name, dtype in DTYPES.items():
        for layout in LAYOUTS:
            for backend in ("auto", "reference"):
                found[name, layout, backend] = synchronised(part, dtype, LAYOUTS[layout], backend)
        if dtype != torch.float32:
            found[name, "autocast"] = autocast(part, dtype)
    return found


def joined(ranks: list[dict], key: tuple) -> dict[str, Tensor]:
    """Outputs one after another, gradients of parameters summed; statistics are the same on all."""
    parts = [rank[key] for rank in ranks]
    whole = {}
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        if "running" in name:
            assert all(torch.equal(v, first) for v in values), name
            whole[name] = first
        else:
            whole[name] = torch.cat(values) if name in ("z", "dx", "y") else sum(values)
    return whole


def agrees_with_float64(found: dict[str, Tensor], dtype: torch.dtype, case: str) -> None:
    wanted = expected(dtype)
    assert found.keys() == wanted.keys()
    for key, want in wanted.items():
        own = dtype if key in ("z", "dx") else torch.float32
        assert found[key].dtype == own, f"{key} ({case})"
        relative = 2 * torch.finfo(own).eps if own != torch.float32 else 2e-5
        error = (found[key].double() - want).abs().max()
        assert error <= relative * want.abs().max(), f"{key}: {error:.2g} ({case})"


def agrees_with_one_process(found: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Convolutions round batches of other sizes in other orders: a coarser comparison."""
    wanted = autocast(None, dtype)
    assert found["y"].dtype == dtype
    for key, want in wanted.items():
        error = (found[key].float() - want.float()).norm() / want.float().norm()
        assert error < 8 * torch.finfo(dtype).eps, f"{key}: {error:.2g} ({dtype}, autocast)"


@pytest.mark.slow
def test_equals_the_joined_batch(tmp_path):
    """All cases in one start of three processes, one of which has no image."""
    ranks = run(on_rank, len(SIZES), tmp_path)
    assert len(ranks[0]) == 3 * 2 * 2 + 2
    for name, *how in ranks[0]:
        found, dtype = joined(ranks, (name, *how)), DTYPES[name]
        if how == ["autocast"]:
            agrees_with_one_process(found, dtype)
        else:
            agrees_with_float64(found, dtype, " ".join((name, *how)))
