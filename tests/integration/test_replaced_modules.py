"""Parametrised and replaced children compute the same in a fused block as in a plain one."""

import copy

import pytest
import torch
from networks import block, features, total
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm

from softgate_ext import use_backend


class Doubled(nn.Module):
    def forward(self, parameter):
        return 2 * parameter


WAYS = {
    "spectral_norm": lambda m: parametrizations.spectral_norm(m.conv2),
    "weight_norm": lambda m: parametrizations.weight_norm(m.conv2),
    "orthogonal": lambda m: parametrizations.orthogonal(m.conv3),
    "older spectral_norm": lambda m: old_spectral_norm(m.conv2),
    "norm's weight": lambda m: parametrize.register_parametrization(m.bn2, "weight", Doubled()),
    "gate": lambda m: parametrize.register_parametrization(m, "alpha", Doubled()),
    "GroupNorm": lambda m: setattr(m, "bn1", nn.GroupNorm(2, 8).double()),
    "Identity": lambda m: setattr(m, "bn2", nn.Identity()),
    "InstanceNorm": lambda m: setattr(m, "bn3", nn.InstanceNorm2d(2).double()),
    "convolution": lambda m: setattr(m, "conv3", nn.Conv2d(2, 2, 1).double()),
}


def plain(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    f1 = module.conv1(module.bn1(x).relu())
    f2 = module.conv2(module.bn2(f1).relu())
    f3 = module.conv3(module.bn3(f2).relu())
    return module.alpha.view(1, -1, 1, 1) * x + torch.cat([f1, f2, f3], 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_equals_the_plain_block(way, backend):
    module, untouched = block(), block()
    WAYS[way](module)
    expected = copy.deepcopy(module)
    torch.manual_seed(0)
    with use_backend(backend):
        y = module(features())
        total(y).backward()
    torch.manual_seed(0)
    want = plain(expected, features())
    total(want).backward()
    torch.testing.assert_close(y, want)
    if way != "weight_norm":  # it starts with the same weight
        assert not torch.allclose(y, untouched(features()))
    theirs = dict(expected.named_parameters())
    for name, p in module.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name].grad, msg=name)
