"""Joints as fractions of the crop, and back."""

import pytest
import torch

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import HeatmapCodec, PoseCodec
from softgate_ext.pose.regression_codec import RegressionCodec

CODEC = RegressionCodec(64)


def test_positions_are_shares_of_the_crop_from_its_centre() -> None:
    joints = torch.tensor([[[-0.5, -0.5], [31.5, 31.5], [63.5, 15.5]]])
    targets = CODEC.encode(joints, torch.ones(1, 3))
    assert targets.tolist() == [[[-0.5, -0.5], [0, 0], [0.5, -0.25]]]
    found, scores = CODEC.decode(targets)
    assert torch.equal(found, joints) and torch.equal(scores, torch.ones(1, 3))


def test_joints_that_do_not_count_and_outputs_that_are_no_numbers() -> None:
    joints = torch.tensor([[[torch.nan, 3.0], [1.0, 2.0], [torch.inf, 0.0]]])
    targets = CODEC.encode(joints, torch.tensor([[0.0, 0.0, 1.0]]))
    assert not targets.any()
    found, scores = CODEC.decode(joints)
    assert scores.tolist() == [[0, 1, 0]] and found[0, 0].tolist() == [31.5, 31.5]


@pytest.mark.parametrize("codec", [CODEC, HeatmapCodec(64, 16)])
def test_a_mirror_image_gives_mirrored_joints(codec: PoseCodec) -> None:
    joints = torch.tensor([[[12.0, 20.0], [40.0, 33.0]]])
    ones, order = torch.ones(1, 2), torch.tensor([1, 0])
    mirrored = torch.stack([63 - joints[..., 0], joints[..., 1]], -1)[:, order]
    turned = codec.mirrored(codec.encode(mirrored, ones), order)
    torch.testing.assert_close(codec.decode(turned)[0], joints, atol=1e-3, rtol=0)


@pytest.mark.parametrize("codec", [CODEC, HeatmapCodec(64, 64)])
def test_crops_of_other_sizes_are_averaged_in_the_first(codec: PoseCodec) -> None:
    """The same place in concentric crops, of which the second shows twice as much."""
    ones, at = torch.ones(1, 1), torch.tensor([[[40.0, 20.0]]])
    further = (at - 31.5) / 2 + 31.5
    maps = [codec.encode(at, ones), codec.encode(further, ones)]
    found, _ = codec.decode(codec.average(maps, (0.8, 1.6)))
    torch.testing.assert_close(found, at, atol=0.1, rtol=0)
    torch.testing.assert_close(codec.average(maps[:1], (0.8,)), maps[0])


def test_bad_input() -> None:
    with pytest.raises(InputError, match="^image_size must be 1 to 8192 pixels, got 0"):
        RegressionCodec(0)
    with pytest.raises(InputError, match=r"^joints must have shape \(B, J, 2\), got \(3, 2\)"):
        CODEC.encode(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(InputError, match=r"^weights must have shape \(1, 3\), got \(1, 2\)"):
        CODEC.encode(torch.zeros(1, 3, 2), torch.zeros(1, 2))
    with pytest.raises(
        InputError, match=r"^outputs must have shape \(B, J, 2\), got \(1, 3, 4, 4\)"
    ):
        CODEC.decode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"^outputs must be of a floating dtype, got torch.int64"):
        CODEC.decode(torch.zeros(1, 3, 2, dtype=torch.int64))
