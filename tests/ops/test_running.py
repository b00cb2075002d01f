"""The running statistics of a norm in training are equal for the kernels and PyTorch's own ops."""

import pytest
import torch
from cases import off_its_alignment
from torch import Tensor, nn

from softgate_ext import InputError, ops, use_backend
from softgate_ext.ops.backend import extension

CHANNELS = 6


def inputs(seed: int) -> Tensor:
    return torch.randn(3, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(seed)) + 1


def spread(t: Tensor) -> Tensor:
    """The same values two apart in memory."""
    wide = torch.zeros(2 * CHANNELS)
    wide[::2] = t
    return wide[::2]


BUFFERS = {
    "plain": lambda t: t,
    "strided": spread,
    "off their alignment": off_its_alignment,
    "float64": lambda t: t.double(),
    "bfloat16": lambda t: t.bfloat16(),
}


@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_three_calls(kind, momentum, backend):
    twin = nn.BatchNorm2d(CHANNELS, momentum=momentum)
    mean, var = (BUFFERS[kind](t.clone()) for t in (twin.running_mean, twin.running_var))
    if backend == "reference" and mean.dtype != torch.float32:
        pytest.skip("PyTorch's batch norm takes buffers of one dtype")
    calls = torch.tensor(0)
    with use_backend(backend):
        for seed in range(3):
            x = inputs(seed)
            ops.bn_relu(x, mean, var, training=True, momentum=momentum, num_batches_tracked=calls)
            twin(x)
    assert calls.item() == 3
    close = dict(rtol=1e-2, atol=1e-2) if mean.dtype == torch.bfloat16 else {}
    torch.testing.assert_close(mean.float(), twin.running_mean, **close)
    torch.testing.assert_close(var.float(), twin.running_var, **close)


def test_what_was_saved_of_them_notices():
    """As behind PyTorch's own ops, an update is a change in place that autograd sees."""
    buffers = [torch.zeros(CHANNELS), torch.ones(CHANNELS), torch.tensor(0)]
    before = [t._version for t in buffers]
    ops.bn_relu(inputs(0), *buffers[:2], training=True, num_batches_tracked=buffers[2])
    assert all(t._version > v for t, v in zip(buffers, before, strict=True))
    x = inputs(0).requires_grad_()
    z = ops.bn_relu(x, *buffers[:2])
    ops.bn_relu(inputs(1), *buffers[:2], training=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.skipif(extension() is None, reason="needs the compiled extension")
def test_the_kernel_leaves_others_to_pytorch():
    mean, var = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    assert extension().update_running(mean, var, mean.clone(), var.clone(), None, 0.1, 9)
    for strange in (spread(mean), mean.double(), nn.Buffer(mean)[::2], mean[:3], mean.long()):
        assert not extension().update_running(mean, var, strange, var.clone(), None, 0.1, 9)
        assert not extension().update_running(mean, strange, mean, var, None, 0.1, 9)
    for calls in (torch.tensor([1, 2]), torch.tensor(1.0), torch.tensor([], dtype=torch.int64)):
        assert not extension().update_running(mean, var, mean, var, calls, None, 9)
    assert not extension().update_running(mean.half(), var.half(), mean, var, None, 0.1, 9)


@pytest.mark.skipif(extension() is None, reason="needs the compiled extension")
@pytest.mark.parametrize("count", [1, 0, -3])
def test_a_variance_needs_two_values(count):
    mean, var = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    with pytest.raises(
        InputError, match=f"count must be 2 or more values of a channel, got {count}"
    ):
        extension().update_running(mean, var, mean.clone(), var.clone(), None, 0.1, count)


def test_values_near_the_largest():
    """The difference of the two means is no float32."""
    mean, var = torch.tensor([3e38]), torch.ones(1)
    ops.bn_relu(torch.full((2, 1, 2, 2), -1e38), mean, var, training=True, momentum=0.1)
    torch.testing.assert_close(mean, torch.tensor([2.6e38]))


def test_an_infinite_statistic_stays_infinite():
    mean, var = torch.zeros(CHANNELS), torch.full((CHANNELS,), torch.inf)
    ops.bn_relu(inputs(0), mean, var, training=True)
    assert torch.isposinf(var).all()


def test_statistics_made_in_inference_mode():
    """PyTorch's batch norm updates them too."""
    with torch.inference_mode():
        mean, var = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    twin = nn.BatchNorm2d(CHANNELS)
    ops.bn_relu(inputs(0), mean, var, training=True)
    twin(inputs(0))
    torch.testing.assert_close(mean, twin.running_mean)


def test_an_empty_batch_is_a_call():
    mean, var, calls = torch.zeros(CHANNELS), torch.ones(CHANNELS), torch.tensor(0)
    ops.bn_relu(inputs(0)[:0], mean, var, training=True, num_batches_tracked=calls)
    assert calls.item() == 1 and not mean.any() and (var == 1).all()


@pytest.mark.parametrize("calls", [3, torch.tensor(3.0), torch.tensor([3])], ids=str)
def test_a_count_of_another_kind(calls):
    with pytest.raises(InputError, match="num_batches_tracked must be an int64 tensor without dim"):
        ops.bn_relu(inputs(0), None, None, training=True, num_batches_tracked=calls)
