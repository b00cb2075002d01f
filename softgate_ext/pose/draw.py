"""Drawing of poses on images, and sheets of images."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import LSP, Skeleton

Image = npt.NDArray[np.uint8]

RIGHT, LEFT, CENTRE = (255, 122, 41), (38, 166, 255), (245, 224, 66)
"""RGB of the person's right side (orange), left side (blue) and middle (yellow). They differ in hue
and in lightness, so that the sides can be told apart by colour-blind readers and in grey prints."""

_SHIFT = 4  # cv2 takes coordinates in 1/16 of a pixel


def draw_pose(
    image: Image,
    joints: npt.ArrayLike,
    shown: npt.ArrayLike | None = None,
    skeleton: Skeleton = LSP,
) -> Image:
    """Draws limbs and joints on a copy of an image: right orange, left blue, middle yellow.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints: (J, 2), in pixels, pixel centres at integers. A joint that is not finite is not drawn.
        shown: (J,) bool, or None for all. Other joints and their limbs are not drawn.
        skeleton: the joints with their names and limbs.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the image or the joints have another shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    joints = np.asarray(joints, np.float64)
    if joints.shape != (len(skeleton), 2):
        raise InputError(f"joints must have shape ({len(skeleton)}, 2), got {joints.shape}")
    drawn = np.isfinite(joints).all(-1)
    if shown is not None:
        wanted = np.asarray(shown, bool)
        if wanted.shape != (len(skeleton),):
            raise InputError(f"shown must have shape ({len(skeleton)},), got {wanted.shape}")
        drawn &= wanted
    canvas = np.ascontiguousarray(image).copy()
    unit = max(1.0, math.hypot(*image.shape[:2]) / 160)
    # Far outside the image, fixed-point coordinates would overflow. Clipping changes the slope of such
    # a line hardly visibly.
    limit = 4.0 * max(image.shape[:2])
    points = np.clip(np.where(drawn[:, None], joints, 0.0), -limit, limit)
    fixed = [(int(x), int(y)) for x, y in np.rint(points * (1 << _SHIFT))]
    # A dark rim is drawn first, so that limbs stand out from the background and from each other.
    for a, b in skeleton.limbs:
        if drawn[a] and drawn[b]:
            colour = _colour(skeleton, a, b)
            for width, paint in ((2.0 * unit + 1, tuple(c // 4 for c in colour)), (unit, colour)):
                cv2.line(
                    canvas, fixed[a], fixed[b], paint, max(1, round(width)), cv2.LINE_AA, _SHIFT
                )
    for index in np.flatnonzero(drawn).tolist():
        colour = _colour(skeleton, index, index)
        for radius, paint in ((1.5 * unit + 0.5, (20, 20, 20)), (1.2 * unit, colour)):
            cv2.circle(
                canvas, fixed[index], round(radius * (1 << _SHIFT)), paint, -1, cv2.LINE_AA, _SHIFT
            )
    return canvas


def _colour(skeleton: Skeleton, a: int, b: int) -> tuple[int, int, int]:
    sides = {skeleton.names[i].side for i in (a, b)} - {None}
    if sides == {"right"}:
        return RIGHT
    return LEFT if sides == {"left"} else CENTRE


def contact_sheet(images: Sequence[Image], columns: int, gap: int = 4) -> Image:
    """Arranges images in rows on white, each centred in a cell of the largest width and height.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes.
        columns: images in a row.
        gap: pixels between images.

    Raises:
        InputError: there are no images or no columns.
    """
    if not images:
        raise InputError("images must hold at least one image, got none")
    if columns < 1:
        raise InputError(f"columns must be at least 1, got {columns}")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        y = gap + row * (height + gap) + (height - image.shape[0]) // 2
        x = gap + column * (width + gap) + (width - image.shape[1]) // 2
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet
