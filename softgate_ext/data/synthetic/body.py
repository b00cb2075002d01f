"""A random articulated body in three dimensions: proportions, and joint angles within limits.

The body frame has the axes left, up and forward of the person, the body height as its unit and its
origin at the pelvis. The camera frame has x to the right, y down and z away from the viewer. A person
with yaw 0 faces the viewer.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Lengths as shares of the body height, from the anthropometric table of Winter, Biomechanics and Motor
# Control of Human Movement.
TORSO, HEAD = 0.29, 0.18
SHOULDER, HIP = 0.118, 0.062  # half widths
UPPER_ARM, FOREARM, HAND = 0.175, 0.15, 0.05
THIGH, SHIN, FOOT = 0.24, 0.235, 0.10

# The (lowest, highest) value of each angle, in degrees.
_LIMITS = {
    "lean": (-25, 80),
    "bend": (-25, 25),
    "twist": (-35, 35),
    "arm_flexion": (-45, 175),
    "arm_abduction": (2, 160),
    "arm_rotation": (-70, 70),
    "elbow": (2, 145),
    "leg_flexion": (-25, 115),
    "leg_abduction": (-5, 55),
    "leg_rotation": (-20, 35),
    "knee": (0, 135),
}

# Activities: the share of the images, then (mean, standard deviation) of the angles that differ from
# rest, in degrees. `swing` moves left and right limbs in opposite directions, as in walking.
_REST = {
    "lean": (3, 5), "bend": (0, 5), "twist": (0, 8),
    "arm_flexion": (5, 15), "arm_abduction": (12, 8), "arm_rotation": (0, 25), "elbow": (20, 15),
    "leg_flexion": (3, 6), "leg_abduction": (5, 4), "leg_rotation": (8, 8), "knee": (6, 6),
    "swing": (0, 0),
}  # fmt: skip
_ACTIVITIES: tuple[tuple[float, dict[str, tuple[float, float]]], ...] = (
    (0.16, {}),
    (0.20, {"swing": (28, 8), "elbow": (45, 25), "knee": (22, 18), "lean": (8, 6)}),
    (0.14, {"swing": (48, 12), "elbow": (80, 20), "knee": (50, 30), "lean": (14, 8),
            "leg_flexion": (18, 12)}),
    (0.16, {"arm_flexion": (60, 60), "arm_abduction": (60, 45), "elbow": (45, 35),
            "leg_abduction": (12, 9), "knee": (18, 16), "leg_flexion": (12, 14)}),
    (0.10, {"arm_abduction": (135, 25), "elbow": (30, 25), "leg_abduction": (12, 12)}),
    (0.10, {"leg_flexion": (75, 22), "knee": (85, 25), "lean": (28, 16), "arm_flexion": (50, 30),
            "elbow": (50, 30), "leg_abduction": (16, 10)}),
    (0.14, {"leg_flexion": (30, 35), "knee": (40, 35), "leg_abduction": (20, 15), "lean": (12, 18),
            "bend": (0, 12), "twist": (0, 16), "arm_flexion": (55, 60), "arm_abduction": (55, 45),
            "arm_rotation": (0, 40), "elbow": (55, 40), "swing": (0, 25)}),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Body:
    """A posed body in the camera frame, in units of the body height.

    Attributes:
        points: positions (3,) by name: LSP's 14 joints and `pelvis`, `waist`, `head`, `left_hand`,
            `left_toe`, ...
        torso: (3, 3), whose columns are the left, up and forward directions of the torso.
        skull: (3, 3), the same for the head.
        girth: factor on the thickness of all parts.
    """

    points: dict[str, Array]
    torso: Array
    skull: Array
    girth: float


def turn(axis: int, degrees: float) -> Array:
    """The right-handed rotation matrix (3, 3) about axis 0 (left), 1 (up) or 2 (forward)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = cos, -sin, sin, cos
    return matrix


def random_body(rng: np.random.Generator) -> Body:
    """A body with random proportions, activity and direction of view."""
    shares = np.array([share for share, _ in _ACTIVITIES])
    activity = _ACTIVITIES[rng.choice(len(shares), p=shares / shares.sum())][1]
    habits = {**_REST, **activity}

    def angle(name: str, opposite: float = 0.0) -> float:
        mean, spread = habits[name]
        return float(np.clip(rng.normal(mean, spread) + opposite, *_LIMITS[name]))

    view = _random_view(rng)
    length = {
        part: rng.normal(1, 0.05) for part in ("arm", "leg", "torso", "head", "shoulder", "hip")
    }
    up, down = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])
    lean, bend, twist = angle("lean"), angle("bend"), angle("twist")
    spine = view @ turn(0, lean) @ turn(2, bend)
    chest = spine @ turn(1, twist)
    hips = view @ turn(0, 0.25 * lean)
    points: dict[str, Array] = {"pelvis": np.zeros(3)}
    points["waist"] = 0.09 * (spine @ up)
    points["neck"] = TORSO * length["torso"] * (spine @ up)
    skull = chest @ turn(1, rng.normal(0, 22)) @ turn(0, rng.normal(0, 10) - 0.4 * lean)
    points["head_top"] = points["neck"] + HEAD * length["head"] * (skull @ up)
    points["head"] = points["neck"] + 0.62 * HEAD * length["head"] * (skull @ up)
    swing = float(rng.normal(*habits["swing"])) * rng.choice((-1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points[f"{side}_shoulder"] = points["neck"] + chest @ np.array(
            [sign * SHOULDER * length["shoulder"], -0.03, 0.0]
        )
        arm = (
            chest
            @ turn(2, sign * angle("arm_abduction"))
            @ turn(0, -angle("arm_flexion", -sign * swing))
            @ turn(1, -sign * angle("arm_rotation"))
        )
        forearm = arm @ turn(0, -angle("elbow"))
        elbow = points[f"{side}_shoulder"] + UPPER_ARM * length["arm"] * (arm @ down)
        wrist = elbow + FOREARM * length["arm"] * (forearm @ down)
        points[f"{side}_elbow"], points[f"{side}_wrist"] = elbow, wrist
        points[f"{side}_hand"] = wrist + HAND * (forearm @ down)
        hip = hips @ np.array([sign * HIP * length["hip"], -0.005, 0.0])
        flexion = angle("leg_flexion", sign * swing)
        leg = (
            hips
            @ turn(2, sign * angle("leg_abduction"))
            @ turn(0, -flexion)
            @ turn(1, sign * angle("leg_rotation"))
        )
        shin = leg @ turn(0, angle("knee"))
        knee = hip + THIGH * length["leg"] * (leg @ down)
        ankle = knee + SHIN * length["leg"] * (shin @ down)
        points[f"{side}_hip"], points[f"{side}_knee"], points[f"{side}_ankle"] = hip, knee, ankle
        toe = turn(0, rng.normal(22, 10)) @ np.array([0.0, 0.0, FOOT])
        points[f"{side}_toe"] = ankle + shin @ toe
    return Body(
        points={name: point * (1, -1, -1) for name, point in points.items()},
        torso=chest * np.array([[1], [-1], [-1]]),
        skull=skull * np.array([[1], [-1], [-1]]),
        girth=float(np.clip(rng.normal(1, 0.12), 0.75, 1.35)),
    )


def _random_view(rng: np.random.Generator) -> Array:
    """A random rotation (3, 3) of the body: mostly seen from the front, often from behind, or the side.

    Most people are upright; a few are tumbling, like the gymnasts in LSP.
    """
    kind = rng.random()
    if kind < 0.64:
        yaw = rng.normal(0, 30)
    elif kind < 0.88:
        yaw = rng.normal(180, 30)
    else:
        yaw = rng.choice((-90, 90)) + rng.normal(0, 20)
    tumble = rng.random()
    roll = rng.normal(0, 7) if tumble < 0.9 else rng.normal(0, 40 if tumble < 0.97 else 120)
    return turn(2, roll) @ turn(0, rng.normal(4, 8)) @ turn(1, yaw)
