import numpy as np
import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.draw import CENTRE, LEFT, RIGHT, contact_sheet, draw_pose
from softgate_ext.pose.skeleton import LSP


def pose() -> np.ndarray:
    """A person seen from the front: the right side on the image's left."""
    joints = np.zeros((14, 2))
    for name, x, y in (
        ("ankle", 30, 185), ("knee", 28, 145), ("hip", 20, 105),
        ("wrist", 60, 110), ("elbow", 50, 80), ("shoulder", 35, 50),
    ):  # fmt: skip
        joints[LSP.index(f"right_{name}")] = (100 - x, y)
        joints[LSP.index(f"left_{name}")] = (100 + x, y)
    joints[LSP.index("neck")] = (100, 45)
    joints[LSP.index("head_top")] = (100, 10)
    return joints


def test_sides_have_their_own_colours_on_a_copy() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    drawn = draw_pose(image, pose())
    assert not image.any()
    assert tuple(drawn[125, 76]) == RIGHT and tuple(drawn[125, 124]) == LEFT  # thighs
    assert tuple(drawn[28, 100]) == CENTRE
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20  # antialiased edges


def test_joints_without_a_position_or_not_shown_are_left_out_with_their_limbs() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    joints, shown = pose(), np.ones(14, bool)
    joints[LSP.index("right_knee")] = np.nan
    shown[LSP.index("left_knee")] = False
    drawn = draw_pose(image, joints, shown)
    assert not drawn[140:150, 60:80].any() and not drawn[140:150, 120:140].any()
    assert drawn[28, 100].any()


@pytest.mark.parametrize("far", [1e4, 1e9, -1e30])
def test_joints_far_away_are_harmless(far: float) -> None:
    joints = pose()
    joints[0] = far
    drawn = draw_pose(np.zeros((200, 200, 3), np.uint8), joints)
    assert tuple(drawn[28, 100]) == CENTRE


def test_lines_are_thicker_in_larger_images() -> None:
    small = draw_pose(np.zeros((200, 200, 3), np.uint8), pose())
    large = draw_pose(np.zeros((1000, 1000, 3), np.uint8), pose() * 5)
    assert large[140, :, 0].astype(bool).sum() > 2 * small[28, :, 0].astype(bool).sum()


def test_sheet_places_every_image_whole() -> None:
    images = [np.full((10 + i, 20 - i, 3), i, np.uint8) for i in range(5)]
    sheet = contact_sheet(images, columns=2, gap=3)
    assert sheet.shape == (3 * (14 + 3) + 3, 2 * (20 + 3) + 3, 3)
    for i, image in enumerate(images):
        assert (sheet == i).all(-1).sum() == image.shape[0] * image.shape[1]
    assert contact_sheet(images[:1], columns=8, gap=0).shape == (10, 20, 3)


def test_bad_input_is_named() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match=r"joints must have shape \(14, 2\), got \(16, 2\)"):
        draw_pose(image, np.zeros((16, 2)))
    with pytest.raises(InputError, match="shown"):
        draw_pose(image, np.zeros((14, 2)), np.zeros(3))
    with pytest.raises(InputError, match="image"):
        draw_pose(np.zeros((20, 20, 3)), np.zeros((14, 2)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="images"):
        contact_sheet([], 3)
    with pytest.raises(InputError, match="columns"):
        contact_sheet([image], 0)
