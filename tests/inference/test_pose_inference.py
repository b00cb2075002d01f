"""Inference from crops to joints."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.inference.device import resolve_device
from softgate_ext.inference.pose_inference import (
    PoseInference,
    predict_people,
    to_input,
    to_source,
)
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.geometry import apply_affine, crop_affine
from softgate_ext.pose.skeleton import LSP


class Oracle(nn.Module):
    """Answers every crop with the given heatmaps, or their flipped counterpart to a flipped crop.

    A crop whose left half is brighter than its right half counts as flipped.
    """

    def __init__(self, upright: Tensor, flipped: Tensor) -> None:
        super().__init__()
        self.upright, self.flipped = upright, flipped
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> list[Tensor]:
        half = images.shape[-1] // 2
        mirrored = images[..., :half].mean() > images[..., half:].mean()
        return [self.flipped if mirrored else self.upright]


def mirror(joints: Tensor, size: int) -> Tensor:
    flipped = joints.clone()
    flipped[..., 0] = size - 1 - flipped[..., 0]
    return flipped[:, list(LSP.flip_permutation)]


@pytest.fixture
def scene() -> tuple[HeatmapCodec, Tensor, Tensor]:
    codec = HeatmapCodec(64, 16)
    joints = 12 + 40 * torch.rand(2, 14, 2, generator=torch.Generator().manual_seed(0))
    crops = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    crops[..., 32:] = 200
    return codec, joints, crops


@pytest.mark.parametrize("flip_test", [False, True])
def test_joints_come_back(scene: Any, flip_test: bool) -> None:
    codec, joints, crops = scene
    ones = torch.ones(2, 14)
    oracle = Oracle(codec.encode(joints, ones), codec.encode(mirror(joints, 64), ones))
    inference = PoseInference(oracle, codec, LSP, flip_test=flip_test)
    found, scores = codec.decode(inference.outputs(crops))
    assert (found - joints).abs().max() < 1e-2
    assert scores.shape == (2, 14)


def test_the_flip_test_averages_both_answers(scene: Any) -> None:
    codec, joints, crops = scene
    ones, nothing = torch.ones(2, 14), torch.zeros(2, 14, 16, 16)
    oracle = Oracle(codec.encode(joints, ones), nothing)
    once = PoseInference(oracle, codec, LSP).outputs(crops)
    twice = PoseInference(oracle, codec, LSP, flip_test=True).outputs(crops)
    assert torch.allclose(twice, once / 2)


class Finder(nn.Module):
    """A network that finds the brightest spot: the mean of each 4 x 4 pixels, for every joint."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [functional.avg_pool2d(images[:, :1], 4).expand(-1, 14, -1, -1)]


@pytest.fixture
def spots(tmp_path: Path) -> PoseSet:
    """Pictures with a Gaussian spot on black, which all joints are at."""
    places = np.array([[70.3, 52.8], [41.6, 88.1], [99.2, 95.0]], np.float32)
    rows, columns = np.mgrid[:160, :160]
    paths = []
    for number, (x, y) in enumerate(places):
        spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 7.0**2))
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), spot.astype(np.uint8))
    flags = np.ones((3, 14), bool)
    return PoseSet(
        name="spots",
        skeleton=LSP,
        image_paths=paths,
        joints=np.repeat(places[:, None], 14, 1),
        labelled=flags,
        visible=flags,
        centers=np.full((3, 2), 75, np.float32),
        sizes=np.full(3, 128, np.float32),
    )


@pytest.mark.parametrize("scales", [(1.0,), (0.8,), (1.0, 0.75, 1.3), (1.3, 0.75), (1.0, 1.0)])
@pytest.mark.parametrize("flip_test", [False, True])
def test_crops_of_several_sizes_agree(
    spots: PoseSet, scales: tuple[float, ...], flip_test: bool
) -> None:
    """Every scale and the flip see the spot at the same place, the border of a crop included."""
    inference = PoseInference(Finder(), HeatmapCodec(128, 32, 1.75), LSP, flip_test=flip_test)
    joints, scores = predict_people(inference, PoseDataset(spots, 128), 2, 0, scales)
    assert np.abs(joints - spots.joints).max() < 0.25
    assert scores.min() > 0.7


def test_scales_that_say_the_same_average_to_it() -> None:
    maps = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(HeatmapCodec(64, 16).average([maps, maps], (1.2, 1.2)), maps)
    flat = torch.full((1, 2, 16, 16), 0.5)
    # Beyond the end of the smaller crop only the larger one counts.
    torch.testing.assert_close(
        HeatmapCodec(64, 16).average([flat, flat, flat], (1.0, 0.5, 2.0)), flat
    )


@pytest.mark.parametrize("scales", [(), (0.05,), (1.0, 11.0), (float("nan"),)])
def test_scales_out_of_range(spots: PoseSet, scales: tuple[float, ...]) -> None:
    inference = PoseInference(Finder(), HeatmapCodec(128, 32), LSP)
    with pytest.raises(InputError, match="scales: got .*; takes one or more numbers"):
        predict_people(inference, PoseDataset(spots, 128), scales=scales)


def test_the_mode_of_the_network_is_left_as_it_was(scene: Any) -> None:
    codec, joints, crops = scene
    heat = codec.encode(joints, torch.ones(2, 14))
    oracle = Oracle(heat, heat)
    for training in (True, False):
        oracle.train(training)
        PoseInference(oracle, codec, LSP).outputs(crops)
        assert oracle.training is training


def test_source_pixels_are_the_inverse_of_the_crop() -> None:
    random = np.random.default_rng(0)
    matrices = np.stack(
        [crop_affine((30, 40), 90, 64, 25, flip=True), crop_affine((5, 9), 20, 64, -70)]
    )
    source = random.uniform(0, 100, (2, 7, 2))
    crop = np.stack([apply_affine(m, points) for m, points in zip(matrices, source, strict=True)])
    assert np.abs(to_source(crop, matrices) - source).max() < 1e-9


def test_input_is_float_from_0_to_1() -> None:
    crops = torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 3, 2, 1)
    images = to_input(crops, torch.device("cpu"), channels_last=True)
    assert images.dtype == torch.float32
    assert images.min() == 0.0 and images.max() == 1.0
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "cpu:x", ""])
def test_devices_that_are_not_here(name: str) -> None:
    with pytest.raises(InputError, match="device: got"):
        resolve_device(name)
