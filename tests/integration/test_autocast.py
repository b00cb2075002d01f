"""Under autocast the residual stream stays in half precision, with float32 gates, norms and statistics."""

import pytest
import torch
from networks import block, features, gradients, images, network, total
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext import gated_residual_bn_relu, skip_merge_bn_relu, use_backend

HALF = [torch.bfloat16, torch.float16]
halves = pytest.mark.parametrize("dtype", HALF, ids=lambda d: str(d)[6:])
backends = pytest.mark.parametrize("backend", ["auto", "reference"])


class Chain(nn.Module):
    """The parameters of one step of a residual stream, float32."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(-1, 1, 8))
        self.bn = nn.BatchNorm2d(8)


def plain(chain: Chain, x: Tensor, branches: list[Tensor]) -> tuple[Tensor, Tensor]:
    y = chain.alpha.view(1, -1, 1, 1) * x + torch.cat(branches, 1)
    return y, chain.bn(y).relu()


def ours(chain: Chain, x: Tensor, branches: list[Tensor]) -> tuple[Tensor, Tensor]:
    bn = chain.bn
    vectors = (chain.alpha, bn.running_mean, bn.running_var, bn.weight, bn.bias)
    return gated_residual_bn_relu(x, branches, *vectors, training=True)


def run(function, dtype: torch.dtype) -> tuple[Chain, Tensor, Tensor]:
    chain, stream = Chain(), features(dtype=dtype)
    with torch.autocast("cpu", dtype=dtype):
        y, z = function(chain, stream, [stream[:, :4], stream[:, 4:]])
        (y.float().sum() + z.float().square().sum()).backward()
    return chain, y, z


@halves
@backends
def test_the_stream_stays_half_where_plain_pytorch_doubles_it(dtype, backend):
    _, wide_y, wide_z = run(plain, dtype)
    assert wide_y.dtype == wide_z.dtype == torch.float32
    with use_backend(backend):
        chain, y, z = run(ours, dtype)
    assert y.dtype == z.dtype == dtype
    assert 2 * y.nbytes == wide_y.nbytes
    kept = [chain.alpha, *chain.bn.parameters(), chain.bn.running_mean, chain.bn.running_var]
    assert {t.dtype for t in kept} == {torch.float32}
    assert {p.grad.dtype for p in chain.parameters()} == {torch.float32}
    rounding = torch.finfo(dtype).eps
    for half, wide in ((y, wide_y), (z, wide_z)):
        torch.testing.assert_close(half.float(), wide, rtol=2 * rounding, atol=4 * rounding)


@halves
def test_a_merge_stays_half(dtype):
    skip, alpha, mean, var = features(dtype=dtype), torch.ones(8), torch.zeros(16), torch.ones(16)
    with torch.autocast("cpu", dtype=dtype):
        merged, z = skip_merge_bn_relu(skip, skip[..., ::2, ::2], alpha, mean, var)
        plain_merged = torch.cat([alpha.view(1, -1, 1, 1) * skip, skip], 1)
    assert merged.dtype == z.dtype == dtype and plain_merged.dtype == torch.float32


class Casts(TorchDispatchMode):
    """Notes which tensors are cast, and the dtypes that the fused ops are given."""

    def __init__(self):
        super().__init__()
        self.cast: list[int] = []
        self.given: list[tuple[str, list[torch.dtype]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.cast.append(args[0].data_ptr())
        if func.namespace == "softgate":
            dtypes = [a.dtype for a in args if isinstance(a, Tensor)]
            self.given.append((func._schema.name, dtypes))
        return func(*args, **(kwargs or {}))


def test_no_parameter_or_statistic_is_cast(fused):
    module = block(torch.float32).to(fused)
    # A convolution casts its weight, as it does in plain PyTorch; the vectors belong to the ops.
    vectors = {t.data_ptr() for t in module.state_dict(keep_vars=True).values() if t.dim() == 1}
    x = features(dtype=torch.bfloat16).to(fused).requires_grad_()
    with Casts() as casts, torch.autocast(fused, dtype=torch.bfloat16):
        total(module(x)).backward()
    assert casts.cast and not vectors & set(casts.cast)
    names = [name for name, _ in casts.given]
    assert names.count("softgate::bn_relu") == 3
    assert names.count("softgate::bn_relu_backward") == 3
    for name, dtypes in casts.given:
        if "bn_relu" in name:
            assert set(dtypes) == {torch.bfloat16, torch.float32}, name


@halves
@backends
def test_a_network_learns_in_half_precision(dtype, backend):
    """The same direction as in float32, with float32 gradients."""
    wide, half = network(torch.float32), network(torch.float32)
    x = images(4, torch.float32)
    with use_backend(backend):
        total(wide(x)).backward()
        with torch.autocast("cpu", dtype=dtype):
            outputs = half(x)
        total(outputs).backward()
    assert outputs[0].dtype == dtype
    flat = [torch.cat([g.flatten() for g in gradients(m).values()]) for m in (wide, half)]
    assert flat[1].dtype == torch.float32
    assert torch.cosine_similarity(*flat, dim=0) > (0.99 if dtype == torch.float16 else 0.9)


@backends
def test_grad_scaler(backend):
    """A step is taken with unscaled gradients, and left out where they overflow."""
    model = network(torch.float32)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)

    def step() -> None:
        optimizer.zero_grad()
        with use_backend(backend), torch.autocast("cpu", dtype=torch.float16):
            loss = total(model(images(dtype=torch.float32)))
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    step()
    assert scaler.get_scale() == 2.0**29
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    scaler.update(2.0)
    step()
    assert scaler.get_scale() == 2.0
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, before[name] - 1e-3 * p.grad, msg=name)
        assert p.grad.isfinite().all() and p.dtype == torch.float32
    assert not torch.equal(model.stem.block1.alpha, before["stem.block1.alpha"])
