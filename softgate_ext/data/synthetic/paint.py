"""Painting of shaded and patterned convex shapes on a canvas that records the part at each pixel."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Region = tuple[slice, slice]
Colour = tuple[float, float, float]

_SHIFT = 4  # cv2 takes coordinates in 1/16 of a pixel
_CIRCLE = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], -1)


@dataclasses.dataclass(frozen=True)
class Fabric:
    """The colour of a surface, with a pattern in a second colour.

    Attributes:
        colour: RGB, 0 to 255.
        second: RGB of the pattern.
        pattern: "plain", "rings" (across the part), "lines" (along it), "checks" or "dots".
        period: period of the pattern in pixels.
    """

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    period: float = 6.0

    def paint(self, along: Floats, across: Floats) -> Floats:
        """The RGB values (..., 3), or (3,) if plain, at positions along and across a part, in pixels."""
        first, second = np.array(self.colour, np.float32), np.array(self.second, np.float32)
        if self.pattern == "plain":
            return first
        turn = np.float32(2 * np.pi / self.period)
        if self.pattern == "rings":
            wave = np.sin(turn * along)
        elif self.pattern == "lines":
            wave = np.sin(turn * across)
        elif self.pattern == "checks":
            wave = 2 * np.sin(turn * along) * np.sin(turn * across)
        else:
            wave = np.cos(turn * along) + np.cos(turn * across) - 1
        share = np.clip(0.5 + 1.5 * wave, 0, 1)[..., None]
        return first + share * (second - first)


@dataclasses.dataclass(frozen=True)
class Face:
    """The colours of a head by the direction from its centre: skin, hair, eyes, nose and mouth.

    Attributes:
        skin: RGB.
        hair: RGB.
        fringe: the start of the hair on the forehead, as the cosine of the angle to the up direction.
    """

    skin: Colour
    hair: Colour
    fringe: float

    def paint(self, left: Floats, up: Floats, forward: Floats) -> Floats:
        """The RGB values (..., 3) in directions given by unit vectors in the head's axes."""
        colour = np.empty((*left.shape, 3), np.float32)
        colour[:] = self.skin
        side, front = np.abs(left), forward > 0
        colour[front & (side < 0.22) & (np.abs(up + 0.5) < 0.1)] *= (0.8, 0.45, 0.45)
        colour[front & (side < 0.1) & (np.abs(up + 0.12) < 0.16)] *= 1.12
        colour[front & (np.abs(side - 0.36) < 0.14) & (np.abs(up - 0.08) < 0.12)] = 25
        colour[((forward < 0.35 * up - 0.15) & (up > -0.55)) | (up > self.fringe)] = self.hair
        return colour


class Canvas:
    """An image that is painted from far to near.

    Args:
        pixels: (H, W, 3) float32 RGB, painted in place.
        light: (3,), the unit vector towards the light; x right, y down, z away from the viewer.
    """

    def __init__(self, pixels: Floats, light: Array) -> None:
        self.pixels = pixels
        self.light = light
        self.owner: npt.NDArray[np.int16] = np.zeros(pixels.shape[:2], np.int16)
        """The number of the part that is visible at each pixel, 0 for the background."""

    def part(self, circles: Sequence[tuple[Array, float]], fabric: Fabric, owner: int) -> None:
        """Paints the convex hull of circles, shaded as a cone from the first to the last circle.

        Args:
            circles: (centre, radius) of each, in pixels.
            fabric: the surface.
            owner: the number that is stored in `self.owner`.
        """
        outline = np.concatenate([center + radius * _CIRCLE for center, radius in circles])
        region, alpha = self._mask(outline)
        (start, r0), (end, r1) = circles[0], circles[-1]
        length = max(float(np.hypot(*(end - start))), 1e-3)
        ax, ay = ((end - start) / length).tolist()
        along, across = _rotated(region, start, ax, ay)
        if len(circles) == 2:
            radius = np.maximum(r0 + np.clip(along / length, 0, 1) * (r1 - r0), 0.5)
        else:  # for a hull of several circles, half of its drawn width
            radius = np.float32(np.abs(across[alpha > 0.5]).max(initial=1.0))
        slope = np.clip(across / radius, -1, 1) * np.float32(0.95)
        lx, ly, lz = self.light.tolist()
        lit = np.maximum(slope * (ly * ax - lx * ay) - np.sqrt(1 - slope * slope) * lz, 0)
        colour = fabric.paint(along, across) * (0.5 + 0.62 * lit)[..., None]
        self._blend(region, alpha, colour, owner)

    def polygon(
        self, corners: Array, fabric: Fabric, owner: int | None = None, shade: float = 1.0
    ) -> None:
        """Paints a convex polygon (K, 2) without shading. With `owner` None, owners are not changed."""
        region, alpha = self._mask(corners)
        along, across = _rotated(region, corners[0], *_direction(corners[1] - corners[0]))
        self._blend(region, alpha, fabric.paint(along, across) * np.float32(shade), owner)

    def head(
        self, center: Array, radii: tuple[float, float], axes: Array, face: Face, owner: int
    ) -> None:
        """Paints an ellipsoid with a face.

        Args:
            center: (2,), in pixels.
            radii: half width and half height in pixels.
            axes: (3, 3), whose columns are the left, up and forward directions of the head in the
                camera frame.
            face: the colours by direction in those axes.
            owner: the number that is stored in `self.owner`.
        """
        upright = float(np.hypot(*axes[:2, 1]))  # seen from above, the ellipsoid is a disc
        tall = radii[0] + (radii[1] - radii[0]) * upright
        ux, uy = _direction(axes[:2, 1])
        basis = np.array([[ux, uy], [-uy, ux]])
        region, alpha = self._mask(center + (_CIRCLE * (tall, radii[0])) @ basis)
        along, across = _rotated(region, center, ux, uy)
        along, across = along / np.float32(tall), across / np.float32(radii[0])
        depth = -np.sqrt(np.maximum(1 - along * along - across * across, 0.02))
        normal = np.stack([along * ux - across * uy, along * uy + across * ux, depth], -1)
        own = normal @ axes.astype(np.float32)
        lit = np.maximum(normal @ self.light.astype(np.float32), 0)
        colour = face.paint(own[..., 0], own[..., 1], own[..., 2])
        self._blend(region, alpha, colour * (0.55 + 0.55 * lit)[..., None], owner)

    def _mask(self, points: Array) -> tuple[Region, Floats]:
        """The region of the canvas around a convex hull, and the hull's antialiased coverage in it."""
        height, width = self.pixels.shape[:2]
        around = np.clip((points.min(0) - 1, points.max(0) + 3), 0, (width, height))
        (x0, y0), (x1, y1) = around.astype(int).tolist()
        hull = cv2.convexHull(np.rint((points - (x0, y0)) * (1 << _SHIFT)).astype(np.int32))
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        if mask.size:  # a hull outside the canvas covers nothing
            cv2.fillConvexPoly(mask, hull, (255,), cv2.LINE_AA, _SHIFT)
        return (slice(y0, y1), slice(x0, x1)), mask * np.float32(1 / 255)

    def _blend(self, region: Region, alpha: Floats, colour: Floats, owner: int | None) -> None:
        target = self.pixels[region]
        target += alpha[..., None] * (colour - target)
        if owner is not None:
            self.owner[region][alpha > 0.5] = owner


def _direction(vector: Array) -> tuple[float, float]:
    x, y = (vector / max(float(np.hypot(*vector)), 1e-6)).tolist()
    return x, y


def _rotated(region: Region, origin: Array, ax: float, ay: float) -> tuple[Floats, Floats]:
    """The coordinates of a region's pixels along the unit vector (ax, ay) and perpendicular to it."""
    rows, columns = region
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(origin[0])
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(origin[1]))[:, None]
    return x * ax + y * ay, y * ax - x * ay
