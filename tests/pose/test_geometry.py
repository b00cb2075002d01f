import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgate_ext.errors import InputError
from softgate_ext.pose.geometry import BORDER, apply_affine, crop_affine, invert_affine, warp
from softgate_ext.pose.skeleton import FLIC, LSP, MPII, Skeleton

coordinate = st.floats(-500, 500)
crops = st.fixed_dictionaries(
    {
        "center": st.tuples(coordinate, coordinate),
        "size": st.floats(5, 2000),
        "output": st.sampled_from([64, 128, 255, 256]),
        "rotation": st.floats(-180, 180),
        "flip": st.booleans(),
    }
)


@given(crops, st.tuples(coordinate, coordinate))
def test_inverse_undoes_the_crop(crop: dict, point: tuple[float, float]) -> None:
    matrix = crop_affine(**crop)
    there = apply_affine(matrix, point)
    np.testing.assert_allclose(apply_affine(invert_affine(matrix), there), point, atol=1e-6)


@given(crops)
def test_center_goes_to_the_middle_and_lengths_scale_by_output_over_size(crop: dict) -> None:
    matrix = crop_affine(**crop)
    middle = (crop["output"] - 1) / 2
    np.testing.assert_allclose(apply_affine(matrix, crop["center"]), [middle, middle], atol=1e-6)
    scale = crop["output"] / crop["size"]
    np.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T, scale**2 * np.eye(2), atol=1e-9)
    assert np.sign(np.linalg.det(matrix[:, :2])) == (-1 if crop["flip"] else 1)


@given(crops, st.tuples(coordinate, coordinate))
def test_flip_mirrors_the_crop_exactly(crop: dict, point: tuple[float, float]) -> None:
    plain = apply_affine(crop_affine(**{**crop, "flip": False}), point)
    mirrored = apply_affine(crop_affine(**{**crop, "flip": True}), point)
    np.testing.assert_allclose(mirrored[1], plain[1], atol=1e-9)
    np.testing.assert_allclose(mirrored[0], crop["output"] - 1 - plain[0], atol=1e-9)


@given(crops)
def test_inverse_of_the_inverse_and_of_the_product(crop: dict) -> None:
    matrix = crop_affine(**crop)
    np.testing.assert_allclose(invert_affine(invert_affine(matrix)), matrix, rtol=1e-9, atol=1e-6)
    square = np.vstack([matrix, [0, 0, 1]]) @ np.vstack([invert_affine(matrix), [0, 0, 1]])
    np.testing.assert_allclose(square, np.eye(3), atol=1e-9)


@given(crops, st.sampled_from([LSP, MPII, FLIC]))
def test_flipping_twice_changes_nothing(crop: dict, skeleton: Skeleton) -> None:
    """Joints and their order: a flipped crop, whose crop is flipped, is the plain crop."""
    side = crop["output"]
    points = np.random.default_rng(0).uniform(-50, 300, (len(skeleton), 2))
    mirror = crop_affine(((side - 1) / 2, (side - 1) / 2), side, side, flip=True)
    order = list(skeleton.flip_permutation)

    def flip(joints: np.ndarray) -> np.ndarray:
        return apply_affine(mirror, joints)[order]

    plain = apply_affine(crop_affine(**{**crop, "flip": False}), points)
    flipped = apply_affine(crop_affine(**{**crop, "flip": True}), points)[order]
    np.testing.assert_allclose(flip(flipped), plain, atol=1e-6)
    np.testing.assert_allclose(flip(flip(plain)), plain, atol=1e-6)


@pytest.mark.parametrize("size", [48.0, 130.7, 500.0])
@pytest.mark.parametrize("rotation", [0.0, 33.0])
def test_a_flipped_crop_is_the_mirror_image_of_the_crop(size: float, rotation: float) -> None:
    rows, columns = np.mgrid[:160, :200]
    smooth = 127 + 100 * np.sin(columns / 11) * np.cos(rows / 7)
    image = np.repeat(smooth[..., None], 3, -1).astype(np.uint8)
    place = ((91.3, 70.9), size, 64, rotation)
    flipped = warp(image, crop_affine(*place, flip=True), 64)
    plain = warp(image, crop_affine(*place), 64)
    difference = np.abs(flipped[:, ::-1].astype(int) - plain)
    assert difference.max() <= 4 and difference.mean() < 0.5  # cv2 weighs at 1/32 pixel


def test_pixel_edges_meet_pixel_edges() -> None:
    """A 100 px square cropped to 50: source pixels 0 and 1 become crop pixel 0."""
    matrix = crop_affine((49.5, 49.5), 100, 50)
    np.testing.assert_allclose(apply_affine(matrix, [0.5, 0.5]), [0, 0], atol=1e-12)
    np.testing.assert_allclose(apply_affine(matrix, [-0.5, 99.5]), [-0.5, 49.5], atol=1e-12)


def test_positive_rotation_is_counter_clockwise_on_the_screen() -> None:
    matrix = crop_affine((0, 0), 101, 101, rotation=90)
    right_of_center = apply_affine(matrix, [10, 0])
    np.testing.assert_allclose(right_of_center, [50, 40], atol=1e-9)  # now above it


def test_warp_by_the_identity_copies_and_flip_mirrors() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    center = (31.5, 31.5)
    np.testing.assert_array_equal(warp(image, crop_affine(center, 64, 64), 64), image)
    mirrored = warp(image, crop_affine(center, 64, 64, flip=True), 64)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    turned = warp(image, crop_affine(center, 64, 64, rotation=90), 64)
    np.testing.assert_array_equal(turned, np.rot90(image))


@pytest.mark.parametrize("size", [80, 200, 333.3, 900, 2000])
@pytest.mark.parametrize(("rotation", "flip"), [(0, False), (25, False), (-70, True)])
def test_picture_and_points_move_together(size: float, rotation: float, flip: bool) -> None:
    """The centroid of a blob lands where its coordinates land, magnified or shrunk."""
    x, y = 417.3, 288.8
    columns, rows = np.meshgrid(np.arange(800), np.arange(600))
    spread = size / 40
    blob = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    image = np.repeat(np.rint(blob)[..., None], 3, -1).astype(np.uint8)
    matrix = crop_affine((x + 0.1 * size, y - 0.15 * size), size, 128, rotation, flip)
    u, v = apply_affine(matrix, (x, y))
    patch = warp(image, matrix, 128)[..., 0].astype(float)
    near = np.hypot(*(np.indices(patch.shape)[::-1] - np.array([u, v])[:, None, None])) < 12.8
    patch = np.where(near, patch, 0)
    centroid = np.array([patch.sum(0) @ np.arange(128), patch.sum(1) @ np.arange(128)])
    np.testing.assert_allclose(centroid / patch.sum(), (u, v), atol=0.06)


@pytest.mark.parametrize("rotation", [0, 30])
def test_shrinking_averages_instead_of_aliasing(rotation: float) -> None:
    """Pixel noise shrunk 8 times keeps about an eighth of its spread (sampling keeps half)."""
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    small = warp(noise, crop_affine((511.5, 511.5), 512, 64, rotation), 64)
    assert small.std() < noise.std() / 6
    assert abs(small.mean() - noise.mean()) < 1


def test_shrunk_crop_off_the_image_is_grey_and_its_edge_is_sharp() -> None:
    image = np.full((300, 300, 3), 255, np.uint8)
    far = warp(image, crop_affine((5000, 0), 400, 32), 32)
    np.testing.assert_array_equal(far, BORDER)
    edge = warp(image, crop_affine((-0.5, 150), 256, 64), 64)
    np.testing.assert_array_equal(edge[:, :31], BORDER)
    np.testing.assert_array_equal(edge[:, 33:], 255)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="size must be a positive"):
        crop_affine((0, 0), 0, 64)
    with pytest.raises(InputError, match="center"):
        crop_affine((float("nan"), 0), 1, 64)
    with pytest.raises(InputError, match="rotation"):
        crop_affine((0, 0), 1, 64, rotation=float("inf"))
    with pytest.raises(InputError, match="output"):
        crop_affine((0, 0), 1, 0)
    with pytest.raises(InputError, match=r"uint8 array, got \(4, 4\) float64"):
        warp(np.zeros((4, 4)), np.eye(2, 3), 4)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="invertible"):
        invert_affine(np.zeros((2, 3)))
