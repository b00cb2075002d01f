"""What folding does with forwards that do more than a graph holds, and with norms that do more."""

import importlib
import random

import pytest
import torch
from test_fold_rules import Net, kinds
from torch import nn
from torch.nn import functional as F

from softgate_ext import InputError, fold
from softgate_ext.folding.pool import max_pool_by_2

X = torch.randn(2, 4, 6, 6)


class Autocast(nn.Module):
    """A part in bfloat16, whatever is around it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.conv(x).float()


class Noise(nn.Module):
    """Another result in each call."""

    def forward(self, x):
        return x + random.random()


def _bn_relu(m, x):
    return m.part(F.relu(m.bn(x)))


@pytest.mark.parametrize("part", [Autocast, Noise])
def test_a_part_that_no_graph_holds_is_called_as_it_is(part):
    net = Net(_bn_relu, bn=nn.BatchNorm2d(4), part=part())
    folded = fold(net)
    assert kinds(folded) == ["ScaleShift", part.__name__]
    for seed in range(3):
        random.seed(seed)
        wanted = net(X)
        random.seed(seed)
        torch.testing.assert_close(folded(X), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "part, what", [(Autocast, "changes autocast"), (Noise, "draws random numbers")]
)
def test_a_network_of_which_no_graph_holds_the_whole_is_refused(part, what):
    with pytest.raises(InputError, match=f"^model must be .* got one whose forward {what}"):
        fold(part())


def test_gradient_mode_means_nothing_to_inference():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            with torch.no_grad():
                return self.conv(x)

    net = Frozen()
    assert torch.equal(fold(net)(X), net(X))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (0, 4)])
def test_pooling_refuses_what_is_too_small(size):
    x = torch.randn(2, 3, *size)
    with pytest.raises(RuntimeError) as wanted:
        F.max_pool2d(x, 2)
    with pytest.raises(RuntimeError) as got:
        max_pool_by_2(x)
    assert str(got.value) == str(wanted.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnetv2_18", "efficientnet_b0"])
def test_norms_of_timm_with_an_activation_of_their_own(name):
    try:
        timm = importlib.import_module("timm")
    except Exception as error:  # torchvision's import raises anything where it does not fit torch
        pytest.skip(f"needs timm, see docs/compiler.md: {error}")
    model = timm.create_model(name, num_classes=10).double().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1), norm.running_var.uniform_(0.5, 2)
    folded = fold(model)
    assert not any(node.target is F.batch_norm for node in folded.network.graph.nodes)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(x)
        torch.testing.assert_close(folded(x), wanted, rtol=1e-9, atol=1e-9 * wanted.abs().max())
