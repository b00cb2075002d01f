"""Activations that a norm can compute again are not kept, and the gradients have the same bits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from softgate_ext import InputError, gated_residual_bn_relu, recompute, use_backend
from softgate_ext.models import create_model
from softgate_ext.nn import SoftGatedBlock
from softgate_ext.ops import bn_relu, recipes
from softgate_ext.ops.backend import unavailable

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_model("hybrid_1x32", width=16, depth=2, stacks=2, joints=4, **options)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module, x: Tensor, forward: Callable[[Tensor], Any]) -> list[Tensor]:
    model.zero_grad()
    out = forward(x)
    out = out if isinstance(out, list) else [out]
    sum(t.float().square().mean() for t in out).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def kept_bytes(monkeypatch: pytest.MonkeyPatch, forward: Callable[[], Any], enabled: bool) -> int:
    """Bytes of the different tensors that a forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}

    def counting(pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> Any:
        def counted(t: Tensor) -> Any:
            packed = pack(t) if enabled else recipes._Kept(t)
            if not isinstance(packed, recipes._Recipe):
                kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return packed

        return saved_tensors_hooks(counted, unpack)

    monkeypatch.setattr(recipes, "saved_tensors_hooks", counting)
    with recompute():
        out = forward()
    del out
    return sum(kept.values())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_the_same_bits(layout: Any, amp: bool, training: bool) -> None:
    x = images().to(memory_format=layout)
    found = []
    for options in ({}, {"recompute": True}):
        model = network(**options).train(training).to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            found.append(gradients(model, x, model))
            buffers = [b.clone() for b in model.buffers()]
        found[-1] += buffers
    assert len(found[0]) == len(found[1])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_kernels
def test_the_inputs_of_convolutions_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    block = SoftGatedBlock(32, 32)
    x = torch.rand(1, 32, 16, 16, requires_grad=True)
    with_them, without = (kept_bytes(monkeypatch, lambda: block(x), on) for on in (False, True))
    assert with_them - without == x.nbytes * (1 + 1 / 2 + 1 / 4)


@needs_kernels
@pytest.mark.parametrize("change", ["doubled", "halved"])
def test_an_activation_is_kept_where_another_is_convolved(change: str) -> None:
    x = torch.rand(2, 4, 6, 6, requires_grad=True)
    weight = torch.rand(2, 4 if change == "doubled" else 2, 3, 3, requires_grad=True)
    found = []
    for enabled in (False, True):
        with recompute(enabled):
            z = bn_relu(x, None, None, training=True)
            if change == "doubled":
                with torch.no_grad():
                    z.mul_(2.0)
            loss = torch.nn.functional.conv2d(z[:, : weight.shape[1]], weight).square().sum()
            del z
        found.append(torch.autograd.grad(loss, [weight])[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("changed", ["running_mean", "weight"])
@pytest.mark.parametrize("enabled", [False, True])
def test_a_change_between_the_passes_is_refused(changed: str, enabled: bool) -> None:
    norm = nn.BatchNorm2d(4).eval()
    x, weight = torch.rand(2, 4, 6, 6, requires_grad=True), torch.rand(4, 4, 3, 3)
    weight.requires_grad_()
    with recompute(enabled):
        tensors = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        loss = torch.nn.functional.conv2d(bn_relu(x, *tensors), weight).square().sum()
    with torch.no_grad():
        getattr(norm, changed).add_(1.0)
    with pytest.raises(RuntimeError, match="version"):
        loss.backward()


def test_second_derivatives_go_through_what_is_computed_again() -> None:
    x = torch.rand(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    f = torch.rand(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    alpha = torch.rand(4, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(4, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def function(*inputs: Tensor) -> Tensor:
        x, f, alpha, weight = inputs
        with recompute():
            y, z = gated_residual_bn_relu(x, [f], alpha, None, None, training=True)
            return y.mean() + torch.nn.functional.conv2d(z, weight, padding=1).square().mean()

    inputs = (x, f, alpha, weight)
    assert torch.autograd.gradcheck(function, inputs)
    with use_backend("reference"):
        assert torch.autograd.gradgradcheck(function, inputs)


def test_nothing_is_left_behind() -> None:
    model = network(recompute=True).train()
    gradients(model, images(), model)
    assert recipes._recipes.by_address is None
    with recompute():
        table = recipes._recipes.by_address
        out = model(images())
        del out
        assert table == {}


def test_compiled_networks_plan_their_own() -> None:
    block = torch.compile(SoftGatedBlock(8, 8), backend="eager", fullgraph=True)
    x = torch.rand(1, 8, 8, 8)
    with recompute():
        wanted = block(x)
    assert torch.equal(block(x), wanted)


def test_other_values_are_refused() -> None:
    with pytest.raises(InputError, match="recompute must be True or False, got 1"):
        network(recompute=1)
