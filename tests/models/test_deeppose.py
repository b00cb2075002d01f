"""The cascade of regressors: the crops, the outputs and the losses of its stages."""

import pytest
import torch
from torch import Tensor, nn

from softgate_ext import InputError, fold
from softgate_ext.models import DeepPose
from softgate_ext.models.deeppose import sub_crops
from softgate_ext.pose.regression_codec import RegressionCodec


def network(stages: int = 3, joints: int = 3) -> DeepPose:
    """A small one whose stages tell other places than the centre."""
    torch.manual_seed(0)
    model = DeepPose(width=8, stages=stages, depth=2, joints=joints)
    for stage in model.stages:
        nn.init.normal_(stage.output.weight, std=0.05)
        nn.init.normal_(stage.output.bias, std=0.1)
    for name, value in model.state_dict().items():
        if name.endswith(("alpha", "running_mean")):
            value.normal_(0, 0.3)
    return model


def slope(height: int = 32, width: int = 32) -> Tensor:
    """One image of which red and green are the place, from the centre, as shares of the sides."""
    x, y = (((torch.arange(side) + 0.5) / side - 0.5) for side in (width, height))
    red, green = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([red, green, 0 * red])[None]


@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_sub_crop_shows_what_is_around_its_joint(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    centers = torch.tensor([[[0.0, 0.0], [0.1, -0.2]]])
    images = slope(*size).contiguous(memory_format=layout)
    parts = sub_crops(images, centers, 0.5)
    assert parts.shape == (2, 3, size[0] // 4, size[1] // 4)
    assert parts.is_contiguous(memory_format=layout)
    wanted = centers[0, :, :, None, None] + 0.5 * slope(size[0] // 4, size[1] // 4)[:, :2]
    torch.testing.assert_close(parts[:, :2], wanted, atol=1e-6, rtol=0)
    assert not sub_crops(images + 1, torch.full((1, 1, 2), 5.0), 0.5).any()  # black outside


def test_each_stage_moves_the_joints_of_the_one_before() -> None:
    model, images = network().eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first, second, third = model(images)
        assert first.shape == (2, 3, 2)
        at = first
        for stage, wanted in zip(list(model.stages)[1:], (second, third), strict=True):
            at = at.clamp(-0.5, 0.5)
            found = torch.empty_like(at)
            for person in range(2):
                for joint in range(3):
                    place = at[person, joint].view(1, 1, 2)
                    told = stage(sub_crops(images[person : person + 1], place, 0.5)).view(3, 2)
                    found[person, joint] = at[person, joint] + 0.5 * told[joint]
            torch.testing.assert_close(wanted, found, atol=1e-4, rtol=0)
            at = wanted
    assert (first - second).abs().max() > 0.01 and (second - third).abs().max() > 0.01


def test_a_stage_learns_from_its_own_error_alone() -> None:
    model = network()
    model(torch.rand(4, 3, 32, 32))[-1].square().sum().backward()
    learnt = [any(p.grad is not None for p in stage.parameters()) for stage in model.stages]
    assert learnt == [False, False, True]


def test_joints_are_float32_under_autocast_and_in_half() -> None:
    model, images = network().eval(), slope() + 0.5
    with torch.no_grad():
        wanted = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(images)
        half = fold(model, torch.bfloat16)(images)
        double = model.double()(images.double())
    for results, dtype in ((mixed, torch.float32), (half, torch.float32), (double, torch.float64)):
        assert {one.dtype for one in results} == {dtype}
        assert (results[0] - wanted[0]).abs().max() < 0.01


@pytest.mark.parametrize("options", [{}, {"channels_last": True}, {"conv": "winograd"}])
def test_folded_it_tells_the_same(options: dict[str, object]) -> None:
    model, images = network().eval(), slope(64, 96) + 0.5
    folded = fold(model, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for one, other in zip(model(images), folded(images), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert not any(type(module) is nn.BatchNorm2d for module in folded.modules())


def test_sizes_of_images() -> None:
    assert (DeepPose(8, depth=1).step, DeepPose(8, depth=4).step) == (16, 64)
    with pytest.raises(InputError, match="divisible by 16, such as 16, 32 or 64, got 24 x 32"):
        network()(torch.zeros(1, 3, 24, 32))


def test_its_codec_is_of_joints() -> None:
    model = network()
    assert isinstance(model.codec(64), RegressionCodec)
    with pytest.raises(InputError, match="^decoder: got quarter for a network that gives joints"):
        model.codec(64, decoder="quarter")
    with pytest.raises(InputError, match="^sigma: got 2.0 for a network that gives joints"):
        model.codec(64, 2.0)
