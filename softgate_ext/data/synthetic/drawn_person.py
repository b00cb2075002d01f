"""Painting of a clothed person from a posed body, and which of its joints are occluded."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from softgate_ext.data.synthetic.body import Body
from softgate_ext.data.synthetic.clothes import Outfit
from softgate_ext.data.synthetic.paint import Array, Canvas
from softgate_ext.pose.skeleton import LSP

# Segments of a limb: their two ends, the half widths there as shares of the height, and an offset of
# their depth in body heights. The offset orders parts of about the same depth: arms are painted over
# the shirt, and the shirt over the thighs.
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", 0.036, 0.027, -0.015),
    "forearm": ("elbow", "wrist", 0.028, 0.019, -0.02),
    "thigh": ("hip", "knee", 0.058, 0.038, 0.03),
    "shin": ("knee", "ankle", 0.039, 0.024, 0.02),
    "foot": ("ankle", "toe", 0.027, 0.02, 0.015),
}
_PARTS = ("head", "torso", *(f"{side}_{part}" for side in ("left", "right") for part in _LIMBS))
_NUMBER = {part: i + 1 for i, part in enumerate(_PARTS)}
OCCLUDER = len(_PARTS) + 1
"""The owner number of objects in front of a person."""

_DISTANCE = 3.0  # distance of the camera, in body heights


def project(body: Body, height: float) -> dict[str, Array]:
    """The points of a body as (x, y, depth) by name, in pixels relative to the pelvis, in perspective."""
    return {
        name: height * np.array([*(point[:2] / (1 + point[2] / _DISTANCE)), point[2]])
        for name, point in body.points.items()
    }


def joint_positions(points: dict[str, Array]) -> Array:
    """The positions (14, 2) of LSP's joints in LSP's order."""
    return np.stack([points[name][:2] for name in LSP.joints])


def occluded(canvas: Canvas, joints: Array) -> npt.NDArray[np.bool_]:
    """(14,) bool, whether something other than the joint's own parts is visible at each joint."""
    height, width = canvas.owner.shape
    cells = np.clip(np.rint(joints).astype(int), 0, (width - 1, height - 1))
    seen = canvas.owner[cells[:, 1], cells[:, 0]].tolist()
    hidden = [owner not in _own(name) for name, owner in zip(LSP.joints, seen, strict=True)]
    return np.array(hidden)


def _own(joint: str) -> set[int]:
    """The numbers of the parts that a joint belongs to. Anything else at its pixel occludes it."""
    if joint in ("neck", "head_top"):
        # The head top is on the outline, so that its pixel may show the background.
        return {0, _NUMBER["head"], _NUMBER["torso"]}
    side, part = joint.split("_")
    own = {_NUMBER[f"{side}_{name}"] for name, ends in _LIMBS.items() if part in ends[:2]}
    return own | {_NUMBER["torso"]} if part in ("hip", "shoulder") else own


class DrawnPerson:
    """A clothed body at its position in the image.

    Args:
        body: the posed body.
        points: the result of `project(body, height)`, moved to the position of the person.
        height: body height in pixels.
        outfit: the clothes.
    """

    def __init__(self, body: Body, points: dict[str, Array], height: float, outfit: Outfit) -> None:
        self.body = body
        self.at = {name: point[:2] for name, point in points.items()}
        self.depth = {name: float(point[2]) / height for name, point in points.items()}
        self.height = height
        self.thick = height * body.girth
        self.outfit = outfit

    def paint(self, canvas: Canvas) -> None:
        """Paints all parts from far to near."""
        depth = self.depth
        jobs: list[tuple[float, Callable[[Canvas], None]]] = [
            (depth["head"] - 0.03, self._head),
            ((depth["waist"] + depth["neck"]) / 2, self._torso),
        ]
        for side in ("left", "right"):
            for part, (start, end, _, _, farther) in _LIMBS.items():
                middle = (depth[f"{side}_{start}"] + depth[f"{side}_{end}"]) / 2
                jobs.append((middle + farther, partial(self._limb, side=side, part=part)))
        for _, job in sorted(jobs, key=lambda item: -item[0]):
            job(canvas)

    def _limb(self, canvas: Canvas, side: str, part: str) -> None:
        """Paints a segment of a limb, covered with cloth from its first end as far as the outfit says."""
        outfit, number = self.outfit, _NUMBER[f"{side}_{part}"]
        first, last, *radii, _ = _LIMBS[part]
        start, end = self.at[f"{side}_{first}"], self.at[f"{side}_{last}"]
        r0, r1 = (radius * self.thick for radius in radii)
        if part == "foot":
            canvas.part([(start, r0), (end, r1)], outfit.shoes, number)
            return
        if part == "forearm":
            hand = (self.at[f"{side}_hand"], 0.021 * self.thick)
            canvas.part([(end, 0.018 * self.thick), hand], outfit.skin, number)
        arm = part in ("upper_arm", "forearm")
        cloth, covered = (outfit.shirt, outfit.sleeves) if arm else (outfit.trousers, outfit.legs)
        covered -= part in ("forearm", "shin")
        if covered < 1:
            canvas.part([(start, r0), (end, r1)], outfit.skin, number)
        if covered > 0:
            share = min(covered, 1.0)
            hem = (start + share * (end - start), 1.12 * (r0 + share * (r1 - r0)))
            canvas.part([(start, 1.1 * r0), hem], cloth, number)

    def _torso(self, canvas: Canvas) -> None:
        thick, number = self.thick, _NUMBER["torso"]
        hips = [self.at[f"{side}_hip"] for side in ("left", "right")]
        shoulders = [self.at[f"{side}_shoulder"] for side in ("left", "right")]
        seat, collar = (hips[0] + hips[1]) / 2, (shoulders[0] + shoulders[1]) / 2
        waist = self.at["waist"]
        canvas.part(
            [(waist, 0.06 * thick), *((hip, 0.058 * thick) for hip in hips), (seat, 0.06 * thick)],
            self.outfit.trousers,
            number,
        )
        belt = waist + 0.4 * (seat - waist)
        canvas.part(
            [
                (collar, 0.05 * thick),
                *((collar + 0.8 * (point - collar), 0.05 * thick) for point in shoulders),
                *((belt + 0.85 * (hip - seat), 0.056 * thick) for hip in hips),
                (belt, 0.056 * thick),
            ],
            self.outfit.shirt,
            number,
        )
        left, up, forward = self.body.torso.T[:, :2] * self.height
        if self.body.torso[2, 2] < -0.25:  # the chest faces the viewer
            base = collar + 0.06 * forward
            opening = ((-0.035, 0.03), (0.035, 0.03), (0.0, -0.05))
            canvas.polygon(
                np.array([base + u * left + v * up for u, v in opening]),
                self.outfit.skin,
                shade=0.9,
            )
            if self.outfit.badge is not None:
                badge = ((-0.06, -0.08), (0.06, -0.08), (0.06, -0.15), (-0.06, -0.15))
                corners = np.array([base + u * left + v * up for u, v in badge])
                canvas.polygon(corners, self.outfit.badge, shade=0.95)

    def _head(self, canvas: Canvas) -> None:
        neck, center, number = self.at["neck"], self.at["head"], _NUMBER["head"]
        girth = 0.031 * self.height
        canvas.part([(neck, girth), (center, girth)], self.outfit.skin, number)
        upright = max(float(np.hypot(*self.body.skull[:2, 1])), 0.3)
        tall = float(np.hypot(*(self.at["head_top"] - center))) / upright
        radii = (0.05 * self.height, max(tall, 0.05 * self.height))
        canvas.head(center, radii, self.body.skull, self.outfit.face, number)
