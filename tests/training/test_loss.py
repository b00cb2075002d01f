"""The heatmap loss against a loop over joints."""

import math

import pytest
import torch

from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.training.loss import pose_loss


def test_it_is_the_mean_over_pixels_and_labelled_joints_summed_over_stacks() -> None:
    torch.manual_seed(0)
    stacks = [torch.randn(3, 4, 5, 6) for _ in range(2)]
    targets = torch.randn(3, 4, 5, 6)
    weights = (torch.rand(3, 4) > 0.4).float()
    expected = 0.0
    for heat in stacks:
        errors = [
            float((heat[b, j] - targets[b, j]).square().mean())
            for b in range(3)
            for j in range(4)
            if weights[b, j] > 0
        ]
        expected += sum(errors) / len(errors)
    assert float(pose_loss(stacks, targets, weights)) == pytest.approx(expected, rel=1e-5)


def test_unlabelled_joints_get_no_gradient() -> None:
    heat = torch.randn(2, 3, 4, 4, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    pose_loss([heat], torch.zeros(2, 3, 4, 4), weights).backward()
    assert heat.grad is not None
    assert torch.equal(heat.grad.abs().sum((-2, -1)) > 0, weights > 0)


def test_nobody_labelled_costs_nothing() -> None:
    loss = pose_loss([torch.randn(2, 3, 4, 4)], torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
    assert float(loss) == 0.0


def test_an_empty_map_costs_what_the_docstring_says() -> None:
    codec = HeatmapCodec(256, 64)
    targets = codec.encode(torch.full((1, 1, 2), 127.5), torch.ones(1, 1))
    loss = pose_loss([torch.zeros(1, 1, 64, 64)], targets, torch.ones(1, 1))
    assert float(loss) == pytest.approx(math.pi / 64**2, rel=1e-3)


def test_half_heatmaps_are_compared_in_float32() -> None:
    heat = torch.full((1, 1, 64, 64), 1e-3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = pose_loss([heat], torch.zeros(1, 1, 64, 64), torch.ones(1, 1))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(heat[0, 0, 0, 0]) ** 2, rel=1e-5)
