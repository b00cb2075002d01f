"""SyncBatchNorm in our modules: several processes against one on the joined batch."""

import copy
from functools import partial

import pytest
import torch
from ranks import run
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from softgate_ext import use_backend
from softgate_ext.models import create_model
from softgate_ext.nn import SoftGatedBlock, SyncBatchNorm2d

# Each starts processes, which import PyTorch anew: one of a kind by default.
SIZES = [*(pytest.param(s, marks=pytest.mark.slow) for s in [(3, 3), (1, 4), (2, 1, 3)]), (3, 0, 2)]


def block(momentum: float | None = 0.1) -> nn.Module:
    torch.manual_seed(0)
    module = SoftGatedBlock(5, 8, alpha_init=0.7).double()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = momentum
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module


def batch(total: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 10 + torch.randn(total, 5, 6, 4, dtype=torch.double, generator=generator)
    return x, torch.randn(total, 8, 6, 4, dtype=torch.double, generator=generator)


def learn(module, x, dy, call=None) -> dict:
    """Output, gradient of x, gradients of the parameters and buffers after two steps."""
    x = x.clone().requires_grad_()
    forward = module if call is None else call
    for _ in range(2):
        y = forward(x)
        x.grad = None
        module.zero_grad()
        y.backward(dy)
    grads = {name: p.grad for name, p in module.named_parameters()}
    return {"y": y.detach(), "dx": x.grad, "grads": grads, "buffers": dict(module.named_buffers())}


CONVERSIONS = {"torch": nn.SyncBatchNorm.convert_sync_batchnorm, "own": SyncBatchNorm2d.convert}


def on_rank(rank, sizes, momentum, backend, compiled, kind="torch"):
    module = CONVERSIONS[kind](block(momentum))
    x, dy = batch(sum(sizes))
    part = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    call = torch.compile(module, fullgraph=True, backend="aot_eager") if compiled else module
    with use_backend(backend):
        return learn(module, x[part], dy[part], call)


def agree(parts: list[dict], whole: dict, **tolerance: float) -> None:
    close = partial(torch.testing.assert_close, **tolerance)
    close(torch.cat([p["y"] for p in parts]), whole["y"])
    close(torch.cat([p["dx"] for p in parts]), whole["dx"])
    for name, grad in whole["grads"].items():
        close(sum(p["grads"][name] for p in parts), grad, msg=name)
    for name, buffer in whole["buffers"].items():
        for part in parts:
            close(part["buffers"][name], buffer, msg=name)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_equals_one_process_on_the_joined_batch(sizes, tmp_path):
    parts = run(on_rank, len(sizes), tmp_path, sizes, 0.1, "auto", False)
    agree(parts, learn(block(), *batch(sum(sizes))), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("momentum", "backend", "compiled"),
    [
        pytest.param(None, "auto", False, marks=pytest.mark.slow),
        pytest.param(0.1, "reference", False, marks=pytest.mark.slow),
        (0.1, "auto", True),
        pytest.param(None, "auto", True, marks=pytest.mark.slow),
    ],
)
def test_other_ways_give_the_same(momentum, backend, compiled, tmp_path):
    parts = run(on_rank, 2, tmp_path, (1, 3), momentum, backend, compiled)
    agree(parts, learn(block(momentum), *batch(4)))


def network(stacks: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return create_model("hybrid_2x48", width=16, stacks=stacks, depth=2, joints=3).double()


def images(total: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(total, 3, 64, 64, dtype=torch.double, generator=generator)


def step(model: nn.Module, x: torch.Tensor) -> dict:
    torch.stack([h.square().mean() for h in model(x)]).sum().backward()
    return {n.removeprefix("module."): p.grad for n, p in model.named_parameters()}


def ddp_on_rank(rank):
    model = SyncBatchNorm2d.convert(network())
    return step(DistributedDataParallel(model), images(4)[2 * rank : 2 * rank + 2])


def test_the_network_under_ddp(tmp_path):
    expected = step(network(), images(4))
    for grads in run(ddp_on_rank, 2, tmp_path):
        torch.testing.assert_close(grads, expected)


def hooked_on_rank(rank):
    """A hook makes the module be called, rather than its parameters read."""
    module = SyncBatchNorm2d.convert(block())
    calls = []
    module.bn2.register_forward_hook(lambda *_: calls.append(1))
    x, dy = batch(4)
    part = slice(2 * rank, 2 * rank + 2)
    return learn(module, x[part], dy[part]) | {"calls": len(calls)}


@pytest.mark.slow
def test_called_as_a_module_it_gives_the_same(tmp_path):
    parts = run(hooked_on_rank, 2, tmp_path)
    agree(parts, learn(block(), *batch(4)))
    assert [part["calls"] for part in parts] == [2, 2]


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_alone_it_is_the_fused_batch_norm(kind):
    plain = block()
    converted = CONVERSIONS[kind](copy.deepcopy(plain))
    assert not any(type(module) is nn.BatchNorm2d for module in converted.modules())
    one, other = learn(plain, *batch(3)), learn(converted, *batch(3))
    torch.testing.assert_close(other, one, rtol=0, atol=0)
    assert other["y"].isfinite().all()
