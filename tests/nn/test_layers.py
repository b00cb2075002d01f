"""The drop-in modules against plain torch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from softgate_ext import use_backend
from softgate_ext.errors import InputError
from softgate_ext.nn import GatedResidualBNReLU, SkipMerge


def tensors(*shapes):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, c, s, s, dtype=torch.float64, generator=generator) for c, s in shapes]


@pytest.mark.parametrize("gate", ["channel", "block", "none"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}], ids=str)
def test_gated_residual(gate, relu, options):
    module = GatedResidualBNReLU(6, gate=gate, alpha_init=0.7, relu=relu, **options).double()
    bn = copy.deepcopy(module.bn)
    x, a, b = tensors((6, 4), (2, 4), (4, 4))
    expected = (1.0 if gate == "none" else 0.7) * x + torch.cat([a, b], 1)
    normed = bn(expected)
    y, z = module(x, [a, b])
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(z, F.relu(normed) if relu else normed)
    assert module.bn.state_dict().keys() == bn.state_dict().keys()
    for name, value in bn.state_dict().items():
        torch.testing.assert_close(module.bn.state_dict()[name], value)


def test_gated_residual_takes_one_branch():
    module = GatedResidualBNReLU(6).double()
    x, f = tensors((6, 4), (6, 4))
    torch.testing.assert_close(module(x, f)[0], f)


@pytest.mark.parametrize("mode", ["concat", "add"])
@pytest.mark.parametrize("bn_relu", [True, False])
@pytest.mark.parametrize("pending", [True, False])
def test_skip_merge(mode, bn_relu, pending):
    low_channels = 4 if mode == "concat" else 6
    module = SkipMerge(6, low_channels, mode, alpha_init=0.3, bn_relu=bn_relu).double()
    skip, low, branch = tensors((6, 4), (low_channels, 2), (6, 4))
    left = 0.3 * skip + (branch if pending else 0)
    up = F.interpolate(low, scale_factor=2, mode="nearest")
    expected = torch.cat([left, up], 1) if mode == "concat" else left + up
    result = module(skip, low, branch) if pending else module(skip, low)
    merged = result[0] if bn_relu else result
    assert merged.shape[1] == module.out_channels
    torch.testing.assert_close(merged, expected)
    if bn_relu:
        torch.testing.assert_close(
            result[1], F.relu(nn.BatchNorm2d(len(expected[0])).double()(expected))
        )


@pytest.mark.parametrize("mode", ["concat", "add"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_skip_merge_fused_equals_reference(fused, mode, layout):
    module = SkipMerge(6, mode=mode, bn_relu=True).to(fused)
    results = []
    for backend in (fused, "reference"):
        skip, low, branch = (
            t.float().to(fused, memory_format=layout).requires_grad_()
            for t in tensors((6, 4), (6, 2), (6, 4))
        )
        copied = copy.deepcopy(module)
        with use_backend(backend):
            merged, z = copied(skip, low, branch)
            (merged.sin().sum() + z.square().sum()).backward()
        gradients = [t.grad for t in (skip, low, branch, *copied.parameters())]
        results.append([merged, z, *gradients, copied.bn.running_var])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-5)


def test_keys_and_words():
    assert list(GatedResidualBNReLU(4, affine=False, track_running_stats=False).state_dict()) == [
        "alpha"
    ]
    assert list(SkipMerge(4, gate="none").state_dict()) == []
    assert repr(SkipMerge(4, 2)) == "SkipMerge(mode='concat', gate='channel', out_channels=6)"
    assert "gate='block', relu=False" in repr(GatedResidualBNReLU(4, "block", relu=False))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SkipMerge(4, mode="sum"), "mode must be 'concat' or 'add', got 'sum'"),
        (
            lambda: SkipMerge(4, 2, mode="add"),
            "low_channels must equal skip_channels (4) in mode 'add', got 2",
        ),
        (
            lambda: GatedResidualBNReLU(4, gate=None),
            "gate must be 'channel', 'block' or 'none', got None",
        ),
    ],
)
def test_bad_input(build, words):
    with pytest.raises(InputError) as error:
        build()
    assert str(error.value) == words
