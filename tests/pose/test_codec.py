import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.geometry import apply_affine, crop_affine, invert_affine

DECODERS = ["argmax", "quarter", "dark", "softargmax"]


def everywhere(size: int, count: int = 400, margin: float = 0.0) -> Tensor:
    """Joints (1, count, 2) all over the crop, down to half a pixel from its edge."""
    generator = torch.Generator().manual_seed(0)
    low, high = margin - 0.49, size - 0.51 - margin
    return low + (high - low) * torch.rand(1, count, 2, generator=generator)


def ones(joints: Tensor) -> Tensor:
    return torch.ones(joints.shape[:2])


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    rotation=st.floats(-180, 180),
    flip=st.booleans(),
    size=st.floats(60, 900),
    shape=st.sampled_from([(256, 64), (128, 32), (256, 128), (192, 48), (100, 40)]),
    sigma=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
)
def test_encode_decode_inverse_is_the_identity(
    x: float, y: float, rotation: float, flip: bool, size: float,
    shape: tuple[int, int], sigma: float,
) -> None:  # fmt: skip
    """To 1e-3 px of the crop, wherever the joint is, border included."""
    image_size, heatmap_size = shape
    codec = HeatmapCodec(image_size, heatmap_size, sigma, "dark")
    matrix = crop_affine((210.5, 133.25), size, image_size, rotation, flip)
    crop = np.array([x, y]) * (image_size - 0.02) - 0.49
    source = apply_affine(invert_affine(matrix), crop)
    joints = torch.tensor(apply_affine(matrix, source), dtype=torch.float32)[None, None]
    decoded, score = codec.decode(codec.encode(joints, ones(joints)))
    back = apply_affine(invert_affine(matrix), decoded[0, 0].numpy())
    np.testing.assert_allclose(back, source, atol=1e-3 * size / image_size)
    assert 0 < score.item() <= 1


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_softargmax_round_trip_away_from_the_border(sigma: float) -> None:
    codec = HeatmapCodec(256, 64, sigma, "softargmax")
    joints = everywhere(256, margin=(4 * sigma + 1) * codec.stride)
    decoded, _ = codec.decode(codec.encode(joints, ones(joints)))
    torch.testing.assert_close(decoded, joints, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("decoder", "cells"), [("argmax", 0.5), ("quarter", 0.25)])
def test_coarse_decoders_are_off_by_no_more_than_they_must(decoder: str, cells: float) -> None:
    codec = HeatmapCodec(256, 64, 2.0, decoder)  # type: ignore[arg-type]
    joints = everywhere(256, margin=4)
    error = (codec.decode(codec.encode(joints, ones(joints)))[0] - joints).abs()
    assert error.max() <= cells * codec.stride + 1e-3
    assert error.max() > 0.9 * cells * codec.stride


def test_targets_are_gaussians_at_the_real_position() -> None:
    codec = HeatmapCodec(256, 64, sigma=2.0)
    maps = codec.encode(torch.tensor([[[101.5, 51.0]]]), torch.ones(1, 1))
    assert maps.dtype == torch.float32
    cell = (torch.tensor([101.5, 51.0]) + 0.5) / 4 - 0.5  # (25, 12.375)
    assert maps[0, 0, 12, 25].item() == pytest.approx(np.exp(-((0.375 / 2) ** 2) / 2), abs=1e-6)
    x, y = 30, 9
    distance = (cell[0] - x) ** 2 + (cell[1] - y) ** 2
    assert maps[0, 0, y, x].item() == pytest.approx(np.exp(-distance.item() / 8), abs=1e-6)


def test_empty_maps_for_what_cannot_be_learned() -> None:
    codec = HeatmapCodec(256, 64)
    joints = torch.tensor([[[50.0, 50], [-0.6, 50], [50, 255.5], [float("nan"), 3], [3, 3]]])
    maps = codec.encode(joints, torch.tensor([[1.0, 1, 1, 1, 0]]))
    assert maps[0, 0].max() > 0.9
    assert (maps[0, 1:] == 0).all()


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoding_a_mirrored_map_mirrors_the_joint(decoder: str) -> None:
    """Without any shift, for arbitrary maps."""
    codec = HeatmapCodec(256, 64, decoder=decoder)  # type: ignore[arg-type]
    maps = torch.rand(3, 14, 64, 64, generator=torch.Generator().manual_seed(0))
    joints, scores = codec.decode(maps)
    mirrored, mirrored_scores = codec.decode(maps.flip(-1))
    torch.testing.assert_close(mirrored[..., 0], 255 - joints[..., 0], atol=2e-3, rtol=0)
    torch.testing.assert_close(mirrored[..., 1], joints[..., 1], atol=2e-3, rtol=0)
    torch.testing.assert_close(mirrored_scores, scores, atol=0, rtol=0)


def test_target_of_a_mirrored_joint_is_the_mirrored_target() -> None:
    codec = HeatmapCodec(256, 64)
    joints = everywhere(256)
    mirrored = joints * torch.tensor([-1.0, 1.0]) + torch.tensor([255.0, 0.0])
    torch.testing.assert_close(
        codec.encode(mirrored, ones(joints)),
        codec.encode(joints, ones(joints)).flip(-1),
        atol=1e-4, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize("decoder", DECODERS)
@settings(max_examples=40, deadline=None)
@given(x=st.floats(-0.4, 255.4), y=st.floats(-0.4, 255.4), sigma=st.sampled_from([1.0, 1.5, 2.5]))
def test_a_mirrored_joint_is_decoded_at_its_mirrored_place(
    decoder: str, x: float, y: float, sigma: float
) -> None:
    """Encode, mirror, decode is decode, mirror: for all decoders, border included.

    Between two cells the highest one may be either, so the coarse ones may differ by a tie.
    """
    codec = HeatmapCodec(256, 64, sigma, decoder)  # type: ignore[arg-type]
    maps = codec.encode(torch.tensor([[[x, y]]]), torch.ones(1, 1))
    top = maps.flatten().topk(2).values
    assume(top[0] - top[1] > 1e-5)
    plain, mirrored = codec.decode(maps)[0], codec.decode(maps.flip(-1))[0]
    torch.testing.assert_close(mirrored[..., 0], 255 - plain[..., 0], atol=1e-2, rtol=0)
    torch.testing.assert_close(mirrored[..., 1], plain[..., 1], atol=1e-2, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), people=st.integers(1, 5), spoilt=st.booleans())
def test_people_are_decoded_independently_of_one_another(
    decoder: str, seed: int, people: int, spoilt: bool
) -> None:
    """Alone or in a batch, in any order, beside maps that are not finite."""
    generator = torch.Generator().manual_seed(seed)
    codec = HeatmapCodec(128, 32, 1.0, decoder)  # type: ignore[arg-type]
    maps = torch.rand(people, 3, 32, 32, generator=generator)
    together = maps.flip(0).clone()
    if spoilt:
        together = torch.cat([together, torch.full_like(maps[:1], float("nan"))])
    joints, scores = (result[:people].flip(0) for result in codec.decode(together))
    for person in range(people):
        alone, score = codec.decode(maps[person : person + 1])
        torch.testing.assert_close(alone[0], joints[person], atol=1e-3, rtol=0)
        torch.testing.assert_close(score[0], scores[person], atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_costs_a_small_part_of_a_cell(dtype: torch.dtype) -> None:
    """Where the map is not next to the border, and no worse than the rounding of its values."""
    codec = HeatmapCodec(256, 64, 1.5)
    joints = everywhere(256, margin=32)
    found, scores = codec.decode(codec.encode(joints, ones(joints)).to(dtype))
    assert (found - joints).abs().max() < {torch.float16: 0.02, torch.bfloat16: 0.1}[dtype]
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_targets_of_joints_in_other_dtypes(dtype: torch.dtype) -> None:
    codec = HeatmapCodec(256, 64)
    joints = torch.tensor([[[101, 51], [64, 200]]])
    maps = codec.encode(joints.to(dtype), torch.tensor([[True, False]]))
    assert maps.dtype == torch.float32 and not maps[0, 1].any()
    torch.testing.assert_close(maps, codec.encode(joints.float(), torch.tensor([[1.0, 0.0]])))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_targets_without_a_positive_weight_are_empty(weight: float) -> None:
    codec = HeatmapCodec(256, 64)
    assert not codec.encode(torch.tensor([[[10.0, 10.0]]]), torch.tensor([[weight]])).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_device_of_the_input_does_the_work(decoder: str) -> None:
    codec = HeatmapCodec(256, 64, decoder=decoder)  # type: ignore[arg-type]
    joints = everywhere(256, 30)
    maps = codec.encode(joints.cuda(), ones(joints))
    assert maps.is_cuda
    torch.testing.assert_close(maps.cpu(), codec.encode(joints, ones(joints)))
    found, scores = codec.decode(maps)
    assert found.is_cuda and scores.is_cuda
    expected = codec.decode(maps.cpu())
    torch.testing.assert_close((found.cpu(), scores.cpu()), expected, atol=1e-2, rtol=0)


def test_quarter_follows_the_larger_neighbour_and_stays_between_equal_ones() -> None:
    codec = HeatmapCodec(64, 64, decoder="quarter")
    maps = torch.zeros(1, 3, 64, 64)
    maps[0, 0, 10, 20], maps[0, 0, 10, 21], maps[0, 0, 9, 20] = 1, 0.5, 0.25
    maps[0, 1, 10, 20], maps[0, 1, 10, 21], maps[0, 1, 10, 19] = 1, 0.5, 0.5
    maps[0, 1, 40, 40] = 0.9  # the second-highest value anywhere must not matter
    maps[0, 2, 0, 63], maps[0, 2, 1, 63] = 1, 0.5  # in a corner there is no difference to follow
    joints, _ = codec.decode(maps)
    assert joints[0].tolist() == [[20.25, 9.75], [20, 10], [63, 0]]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(decoder: str, dtype: torch.dtype) -> None:
    codec = HeatmapCodec(256, 64, decoder=decoder)  # type: ignore[arg-type]
    joints = everywhere(256, 20)
    expected, _ = codec.decode(codec.encode(joints, ones(joints)))
    got, scores = codec.decode(codec.encode(joints, ones(joints)).to(dtype))
    assert got.dtype == scores.dtype == torch.float32
    # Rounding may move the highest cell to its neighbour where both are nearly equal.
    torch.testing.assert_close(got, expected, atol=4.1, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_hostile_maps_give_finite_joints_inside_the_crop(decoder: str) -> None:
    codec = HeatmapCodec(256, 64, decoder=decoder)  # type: ignore[arg-type]
    maps = torch.zeros(1, 9, 64, 64)
    maps[0, 0] = float("nan")
    maps[0, 1] = float("inf")
    maps[0, 2, 5, 5], maps[0, 2, 9, 9] = float("nan"), 0.5
    maps[0, 3] = 1  # flat
    maps[0, 4] = -1
    maps[0, 5, 0, 0] = 1  # one cell in a corner
    maps[0, 6, 63, 31] = 1e30
    maps[0, 7, 3] = 1  # a ridge
    maps[0, 8] = torch.linspace(0, 1, 64)  # a slope against the border
    joints, scores = codec.decode(maps)
    assert joints.isfinite().all() and scores.isfinite().all()
    assert (joints >= -4).all() and (joints <= 259).all()
    assert scores[0, :2].tolist() == [0, 0]
    torch.testing.assert_close(joints[0, 2], torch.tensor([37.5, 37.5]), atol=1e-3, rtol=0)


def test_dark_is_the_best_of_the_fine_decoders_under_noise() -> None:
    """Maps as a network gives them: too low, with noise. Mean error in cells."""
    generator = torch.Generator().manual_seed(0)
    joints = everywhere(256)
    maps = HeatmapCodec(256, 64).encode(joints, ones(joints)) * 0.6
    maps = maps + 0.02 * torch.randn(maps.shape, generator=generator)
    error = {
        decoder: (HeatmapCodec(256, 64, decoder=decoder).decode(maps)[0] - joints)  # type: ignore[arg-type]
        .norm(dim=-1).mean().item() / 4
        for decoder in DECODERS
    }  # fmt: skip
    assert error["dark"] < 0.5 * error["quarter"] < error["argmax"]


def test_no_people() -> None:
    codec = HeatmapCodec(256, 64)
    maps = codec.encode(torch.zeros(0, 14, 2), torch.zeros(0, 14))
    assert maps.shape == (0, 14, 64, 64)
    joints, scores = codec.decode(maps)
    assert joints.shape == (0, 14, 2) and scores.shape == (0, 14)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="decoder must be one of argmax, .* got 'best'"):
        HeatmapCodec(256, 64, decoder="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sigma"):
        HeatmapCodec(256, 64, sigma=0)
    with pytest.raises(InputError, match="heatmap_size"):
        HeatmapCodec(256, 2)
    with pytest.raises(InputError, match="image_size"):
        HeatmapCodec(0, 64)
    codec = HeatmapCodec(256, 64)
    with pytest.raises(InputError, match=r"joints must have shape \(B, J, 2\), got \(14, 2\)"):
        codec.encode(torch.zeros(14, 2), torch.zeros(14))
    with pytest.raises(InputError, match=r"weights must have shape \(1, 14\), got \(14,\)"):
        codec.encode(torch.zeros(1, 14, 2), torch.zeros(14))
    with pytest.raises(InputError, match=r"\(B, J, 64, 64\), got \(1, 14, 32, 64\)"):
        codec.decode(torch.zeros(1, 14, 32, 64))
    with pytest.raises(InputError, match="floating"):
        codec.decode(torch.zeros(1, 14, 64, 64, dtype=torch.int32))


def test_a_slanted_peak_is_found_by_its_whole_curvature() -> None:
    """Of a Gaussian whose axes are those of no pixel the mixed derivative counts."""
    codec = HeatmapCodec(128, 32, sigma=1.0, decoder="dark")
    y, x = torch.meshgrid(*[torch.arange(32.0)] * 2, indexing="ij")
    dx, dy = x - 15.3, y - 16.4
    heat = torch.exp(-(dx * dx + 1.2 * dx * dy + dy * dy) / 6)[None, None]
    joints, _ = codec.decode(heat)
    assert ((joints + 0.5) / codec.stride - 0.5 - torch.tensor([15.3, 16.4])).abs().max() < 0.02


def test_little_mass_has_a_centre_too() -> None:
    heat = torch.zeros(1, 1, 32, 32)
    heat[0, 0, 10, 10:12] = 1e-3
    joints, _ = HeatmapCodec(32, 32, decoder="softargmax").decode(heat)
    assert joints[0, 0].tolist() == [10.5, 10]


def test_a_joint_on_the_edge_of_the_crop_has_a_target() -> None:
    codec = HeatmapCodec(64, 16)
    edges = torch.tensor([[[-0.5, -0.5], [63.5, 10.0], [63.4, 10.0]]])
    assert codec.encode(edges, torch.ones(1, 3)).amax((-1, -2)).gt(0).tolist() == [
        [True, False, True]
    ]


def test_maps_of_a_smaller_crop_are_laid_into_the_first() -> None:
    """Whose middle half it is; outside of it the first counts alone."""
    first, half = torch.full((1, 1, 8, 8), 2.0), torch.full((1, 1, 8, 8), 4.0)
    mean = HeatmapCodec(32, 8).average([first, half], [1.0, 0.5])[0, 0]
    expected = torch.full((8, 8), 2.0)
    expected[2:6, 2:6] = 3.0
    torch.testing.assert_close(mean, expected)
    assert torch.equal(HeatmapCodec(32, 8).average([first], [1.0]), first)
