"""Crop geometry: the affine map from the source image to the network's crop, and its resampling.

Pixel centres are at integer coordinates in every image. Pixel (0, 0) therefore covers [-0.5, 0.5) on
both axes, and a heatmap of stride s has x_map = (x + 0.5) / s - 0.5. With this convention a mirror
image is x -> width - 1 - x at every resolution, and no shift or rounding is needed.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError

Array = npt.NDArray[np.float64]

BORDER = 127
"""The grey level outside the source image. A constant is used, because a replicated border would
extend limbs that the image cuts off. Mid-grey is used, because it is near zero after normalisation."""


def crop_affine(
    center: Sequence[float] | npt.NDArray[np.floating],
    size: float,
    output: int,
    rotation: float = 0.0,
    flip: bool = False,
) -> Array:
    """The affine map from a square of the source image to a square crop.

    Args:
        center: (x, y) of the square's centre, in source pixels.
        size: side of the square, in source pixels.
        output: side of the crop, in pixels.
        rotation: degrees by which the image turns counter-clockwise, as seen on a screen.
        flip: whether left and right are mirrored, after the rotation.

    Returns:
        (2, 3) float64 matrix from source pixels to crop pixels.

    Raises:
        InputError: `size` or `output` is not positive, or a value is not finite.
    """
    cx, cy = (float(value) for value in center)
    size, rotation = float(size), float(rotation)
    if not (math.isfinite(cx) and math.isfinite(cy)):
        raise InputError(f"center must be two finite numbers, got ({cx}, {cy})")
    if not (math.isfinite(size) and size > 0):
        raise InputError(f"size must be a positive finite number of pixels, got {size}")
    if output < 1:
        raise InputError(f"output must be at least 1 pixel, got {output}")
    if not math.isfinite(rotation):
        raise InputError(f"rotation must be a finite number of degrees, got {rotation}")
    scale = output / size
    cos, sin = (scale * f(math.radians(rotation)) for f in (math.cos, math.sin))
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down: this is counter-clockwise
    if flip:
        linear[0] *= -1
    middle = (output - 1) / 2
    return np.column_stack([linear, middle - linear @ (cx, cy)])


def apply_affine(matrix: npt.ArrayLike, points: npt.ArrayLike) -> Array:
    """Points (..., 2) mapped by a (2, 3) matrix, in float64."""
    matrix = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def invert_affine(matrix: npt.ArrayLike) -> Array:
    """The inverse (2, 3) matrix of an affine map.

    Raises:
        InputError: the matrix is singular.
    """
    matrix = np.asarray(matrix, np.float64)
    linear = matrix[:, :2]
    if not abs(np.linalg.det(linear)) > 0:
        raise InputError(f"matrix must be invertible, got linear part {linear.tolist()}")
    inverse = np.linalg.inv(linear)
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def warp(image: npt.NDArray[np.uint8], matrix: npt.ArrayLike, output: int) -> npt.NDArray[np.uint8]:
    """Resamples an image through an affine map, bilinearly and without aliasing.

    If the map shrinks the image, the part of the source that the crop covers is first averaged by area
    to the crop's resolution. Bilinear sampling alone reads four source pixels and would alias.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), from source pixels to crop pixels.
        output: side of the square crop in pixels.

    Returns:
        (output, output, 3) uint8, grey (`BORDER`) outside the source.

    Raises:
        InputError: the image is not (H, W, 3) uint8, or is empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"image must be a non-empty (H, W, 3) uint8 array, got {image.shape} {image.dtype}"
        )
    matrix = np.asarray(matrix, np.float64)
    shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 0.8:
        image, matrix = reduce_region(image, matrix, output, shrink)
    return cv2.warpAffine(  # type: ignore[return-value]
        image,
        matrix,
        (output, output),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(BORDER, BORDER, BORDER),
    )


def reduce_region(
    image: npt.NDArray[np.uint8], matrix: Array, output: int, shrink: float
) -> tuple[npt.NDArray[np.uint8], Array]:
    """The part of the source that a crop covers, averaged by area to a lower resolution.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), from source pixels to crop pixels.
        output: side of the square crop in pixels.
        shrink: side of a source pixel in pixels of the result; 1 keeps the resolution.

    Returns:
        The part, (h, w, 3) uint8, of at least one pixel; and the (2, 3) matrix from its pixels to crop
        pixels.
    """
    height, width = image.shape[:2]
    corners = np.array([[-1, -1], [output, -1], [output, output], [-1, output]], np.float64)
    covered = apply_affine(invert_affine(matrix), corners)
    margin = 2 / shrink  # two reduced pixels, which the interpolation at the edges reads
    x0, y0 = np.clip(np.floor(covered.min(0) - margin), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(covered.max(0) + margin), 0, (width - 1, height - 1)).astype(int)
    part = image[y0 : y1 + 1, x0 : x1 + 1]
    reduced_size = (
        max(1, round(part.shape[1] * shrink)),
        max(1, round(part.shape[0] * shrink)),
    )
    factor = np.array(reduced_size) / (part.shape[1], part.shape[0])
    reduced = cv2.resize(part, reduced_size, interpolation=cv2.INTER_AREA)
    # reduced = (source - origin + 0.5) * factor - 0.5, solved for source and put into `matrix`
    linear = matrix[:, :2] / factor
    origin = np.array([x0, y0]) - 0.5 + 0.5 / factor
    shift = matrix[:, :2] @ origin + matrix[:, 2]
    return reduced, np.column_stack([linear, shift])  # type: ignore[return-value]
