"""Modules built on the ops treat a BatchNorm2d exactly as `nn.BatchNorm2d.forward` does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from softgate_ext import ops
from softgate_ext.nn import bn_relu, gated_residual_bn_relu
from softgate_ext.nn._pending import Pending
from softgate_ext.nn.norm import is_fusable, with_batch_norm

OPTIONS = [
    {},
    {"momentum": 0.3, "eps": 1e-2},
    {"momentum": None},
    {"momentum": 0.0},
    {"affine": False},
    {"track_running_stats": False},
    {"track_running_stats": False, "momentum": None, "affine": False},
    {"bias": False},
]


def a_batch_norm(**options) -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(5, **options).double()
    with torch.no_grad():
        for parameter in bn.parameters():
            parameter.copy_(torch.randn(5))
    return bn


def batches(count: int = 4):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2 + i, 5, 3, 4, dtype=torch.float64, generator=generator) * (i + 1) + i
        for i in range(count)
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_follows_batch_norm_through_training_and_evaluation(options):
    ours = a_batch_norm(**options)
    torchs = copy.deepcopy(ours)
    for step, x in enumerate(batches()):
        training = step != 2
        ours.train(training)
        torchs.train(training)
        torch.testing.assert_close(bn_relu(x, ours), F.relu(torchs(x)), rtol=1e-10, atol=1e-10)
        assert ours.state_dict().keys() == torchs.state_dict().keys()
        for name, value in torchs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_those_of_batch_norm(options):
    ours = a_batch_norm(**options)
    torchs = copy.deepcopy(ours)
    for training in (True, False):
        ours.train(training)
        torchs.train(training)
        for x in batches(2):
            gradients = []
            for output, bn in ((lambda t: bn_relu(t, ours), ours), (torchs, torchs)):
                t = x.clone().requires_grad_()
                z = output(t) if bn is ours else F.relu(output(t))
                gradients.append(torch.autograd.grad((z * z).sum(), [t, *bn.parameters()]))
            for mine, theirs in zip(*gradients, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_tracking_switched_off_after_construction():
    ours = a_batch_norm()
    torchs = copy.deepcopy(ours)
    for bn in (ours, torchs):
        bn.track_running_stats = False
    x = batches(1)[0]
    torch.testing.assert_close(bn_relu(x, ours, relu=False), torchs(x))
    assert ours.num_batches_tracked is not None and ours.num_batches_tracked == 0
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    ours.eval()
    torchs.eval()
    torch.testing.assert_close(bn_relu(x, ours, relu=False), torchs(x))


def test_every_op_reaches_its_batch_norm():
    x = batches(1)[0]
    bn = a_batch_norm()
    expected = copy.deepcopy(bn)
    y, z = Pending(x, (x[:, :2], x[:, 2:])).complete_bn_relu(bn, relu=False)
    torch.testing.assert_close(y, 2 * x)
    torch.testing.assert_close(z, expected(2 * x))
    torch.testing.assert_close(bn.running_var, expected.running_var)
    z = with_batch_norm(ops.bn_relu, x, bn=bn, relu=False)
    torch.testing.assert_close(z, expected(x))
    assert bn.num_batches_tracked == 2


@pytest.mark.parametrize(
    ("norm", "fusable"),
    [
        (nn.BatchNorm2d(5), True),
        (nn.SyncBatchNorm(5), True),  # alone there is nothing to synchronise
        (nn.GroupNorm(1, 5), False),
        (nn.InstanceNorm2d(5), False),
        (nn.Identity(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_norms_are_called_as_they_are(norm, fusable):
    assert is_fusable(norm) is fusable
    x = batches(1)[0].float()
    norm.eval()
    alpha = torch.full((5,), 0.5)
    y, z = gated_residual_bn_relu(x, x, alpha, norm)
    torch.testing.assert_close(y, 1.5 * x)
    torch.testing.assert_close(z, F.relu(norm(1.5 * x)))
    torch.testing.assert_close(
        gated_residual_bn_relu(x, [x], None, norm, relu=False)[1], norm(2 * x)
    )


@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_graph_under_compile(momentum):
    bn = a_batch_norm(momentum=momentum)
    expected = copy.deepcopy(bn)

    def forward(x):
        return bn_relu(x, bn)

    compiled = torch.compile(forward, fullgraph=True, dynamic=False, backend="aot_eager")
    for x in batches(2):
        torch.testing.assert_close(compiled(x), F.relu(expected(x)))
    torch.testing.assert_close(bn.running_mean, expected.running_mean)
    assert bn.num_batches_tracked == 2
