"""Drawing of one image: a cluttered background, a person, objects in front, and camera effects."""

import cv2
import numpy as np
import numpy.typing as npt

from softgate_ext.data.synthetic.body import random_body
from softgate_ext.data.synthetic.clothes import random_colour, random_fabric, random_outfit
from softgate_ext.data.synthetic.drawn_person import (
    OCCLUDER,
    DrawnPerson,
    joint_positions,
    occluded,
    project,
)
from softgate_ext.data.synthetic.paint import Array, Canvas, Floats

# RGB colours above and below the horizon at places where sport is done.
_ABOVE = np.array([
    (150, 185, 225), (205, 212, 220), (60, 84, 52), (96, 84, 70), (178, 164, 146), (44, 48, 58),
], np.float32)  # fmt: skip
_BELOW = np.array([
    (92, 140, 58), (178, 146, 104), (120, 120, 122), (168, 118, 70), (62, 96, 150), (150, 76, 60),
], np.float32)  # fmt: skip


def draw_person(
    rng: np.random.Generator, image_size: int
) -> tuple[npt.NDArray[np.uint8], Array, npt.NDArray[np.bool_]]:
    """Draws an image of one person, framed about as closely as in LSP.

    Args:
        rng: the source of all randomness.
        image_size: longer side of an average image in pixels.

    Returns:
        The image (H, W, 3) uint8 RGB; the joints (14, 2) in 0-based pixels in LSP's order; and whether
        each joint is occluded, (14,) bool.
    """
    body = random_body(rng)
    # The larger extent of the joints is a given share of the image, whatever the pose.
    extent = image_size * float(np.clip(rng.normal(0.75, 0.07), 0.5, 0.9))
    height = extent / float(np.ptp(joint_positions(project(body, 1.0)), axis=0).max())
    points = project(body, height)
    joints = joint_positions(points)
    margins = extent * rng.uniform(0.09, 0.24, (2, 2))
    origin = joints.min(0) - margins[0]
    width, tall = np.ceil(np.ptp(joints, axis=0) + margins.sum(0)).astype(int).tolist()
    points = {name: point - (*origin, 0.0) for name, point in points.items()}
    joints = joints - origin

    light = np.array([rng.uniform(-0.8, 0.8), -rng.uniform(0.2, 1.0), -rng.uniform(0.4, 1.0)])
    canvas = Canvas(_background(rng, width, tall), light / np.linalg.norm(light))
    _clutter(rng, canvas, height)
    if rng.random() < 0.1:
        _passer_by(rng, canvas, height)
    canvas.owner[:] = 0
    DrawnPerson(body, points, height, random_outfit(rng, height)).paint(canvas)
    if rng.random() < 0.25:
        _obstacle(rng, canvas, joints, height)
    return _photograph(rng, canvas.pixels), joints, occluded(canvas, joints)


def _background(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A background (height, width, 3) float32 RGB: two colours with a horizon, and octaves of noise."""
    above, below = (
        colours[rng.integers(len(colours))] * np.float32(rng.uniform(0.7, 1.15))
        + np.array(random_colour(rng), np.float32) * np.float32(0.3)
        - 32
        for colours in (_ABOVE, _BELOW)
    )
    level = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sharpness = np.exp(rng.uniform(1, 4.5))
    floor = 1 / (1 + np.exp(-(level - rng.uniform(0.3, 1.0)) * sharpness))
    pixels = np.repeat(above + floor.astype(np.float32) * (below - above), width, axis=1)
    strength = rng.uniform(6, 30)
    for cells in (3, 7, 16, 40):
        noise = rng.standard_normal((cells, cells, 3), np.float32)
        grey = noise.mean(-1, keepdims=True) * 1.7
        noise = np.float32(strength) * (grey + np.float32(0.25) * (noise - grey))
        pixels += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        strength *= rng.uniform(0.5, 0.9)
    return pixels


def _clutter(rng: np.random.Generator, canvas: Canvas, height: float) -> None:
    """Paints objects behind the person: boards, boxes, and bars that look like limbs."""
    rows, columns = canvas.owner.shape
    for _ in range(rng.integers(1, 7)):
        center = rng.uniform(0, (columns, rows))
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        reach = height * rng.uniform(0.06, 0.35) * rng.uniform(0.6, 1.4, 2)
        corners = center + np.stack([np.cos(angles), np.sin(angles)], -1) * reach
        canvas.polygon(corners, random_fabric(rng, height), shade=rng.uniform(0.5, 1.0))
    for _ in range(rng.integers(0, 4)):
        _bar(rng, canvas, rng.uniform(0, (columns, rows)), height, 0)
    if rng.random() < 0.6:
        blur = float(rng.uniform(0.5, 2.0))
        canvas.pixels[:] = cv2.GaussianBlur(canvas.pixels, (0, 0), blur)


def _bar(
    rng: np.random.Generator, canvas: Canvas, center: Array, height: float, owner: int
) -> None:
    angle = rng.uniform(0, np.pi)
    half = height * rng.uniform(0.08, 0.35) * np.array([np.cos(angle), np.sin(angle)])
    thin, thick = (height * rng.uniform(0.012, 0.045, 2)).tolist()
    canvas.part([(center - half, thin), (center + half, thick)], random_fabric(rng, height), owner)


def _passer_by(rng: np.random.Generator, canvas: Canvas, height: float) -> None:
    """Paints another person further back, to the side and partly out of the image."""
    rows, columns = canvas.owner.shape
    body, tall = random_body(rng), height * rng.uniform(0.5, 0.9)
    side = 0.5 + rng.choice((-1, 1)) * rng.uniform(0.4, 0.6)
    place = np.array([columns * side, rows * rng.uniform(0.35, 0.65), 0.0])
    points = {name: point + place for name, point in project(body, tall).items()}
    DrawnPerson(body, points, tall, random_outfit(rng, tall)).paint(canvas)


def _obstacle(rng: np.random.Generator, canvas: Canvas, joints: Array, height: float) -> None:
    """Paints an object in front of one or two limbs."""
    for _ in range(rng.integers(1, 3)):
        center = joints[rng.integers(len(joints))] + rng.normal(0, 0.04 * height, 2)
        if rng.random() < 0.5:
            _bar(rng, canvas, center, height, OCCLUDER)
        else:
            angles = np.arange(4) * np.pi / 2 + rng.uniform(0, np.pi / 2)
            reach = height * rng.uniform(0.05, 0.13, 2)
            corners = center + np.stack([np.cos(angles), np.sin(angles)], -1) * reach
            canvas.polygon(corners, random_fabric(rng, height), OCCLUDER)


def _photograph(rng: np.random.Generator, pixels: Floats) -> npt.NDArray[np.uint8]:
    """Applies the effects of a camera: focus, exposure, colour cast and sensor noise."""
    blurred = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 0.8)))
    gain = (rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)).astype(np.float32)
    grain = rng.standard_normal(pixels.shape[:2], np.float32)[..., None]
    noisy = blurred * gain + np.float32(rng.uniform(0.5, 5)) * grain
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
