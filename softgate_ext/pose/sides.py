"""Whose left and right: the person's own, or the picture's."""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton

T = TypeVar("T", bound=np.generic)
Sides = Literal["pc", "oc"]
WORDS: dict[Sides, str] = {"pc": "person-centric", "oc": "observer-centric"}

LIMBS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""Joints that are left or right together, by the place of the first; others are by their own."""


def observer_order(
    joints: npt.NDArray[np.floating],
    skeleton: Skeleton,
    labelled: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Where to take each joint from, to name left and right by the picture and not by the person.

    Observer-centric labels name everybody as if they faced the camera: with the picture turned so
    that the trunk hangs down from the shoulders, the arm whose shoulder is further right is the
    left one, and so is the leg by its hip. What is seen from behind changes its names, what is
    seen from the front keeps them, and limbs stay whole where they cross. These are the rules by
    which LSP's labels are converted (Eichner and Ferrari, ACCV 2012).

    Args:
        joints: (N, J, 2) pixels with left and right of any kind; NaN where there is none.
        skeleton: The J joints.
        labelled: (N, J) bool, joints whose place is known; None for all. An arm or leg whose
            first joint is not known on both sides keeps its name; the trunk of whom shoulders or
            hips are not known is taken to hang down in the picture as it is.

    Returns:
        (N, J) indices, for `take_joints`.

    Raises:
        InputError: The joints have no left and right, or some the one without the other.
    """
    if skeleton.unpaired or not skeleton.flip_pairs:
        which = ", ".join(skeleton.joints[i] for i in skeleton.unpaired) or "the joints"
        raise InputError(
            f"labels: got oc, but {which} of {skeleton.name} have no left and right; takes pc"
        )
    known = np.isfinite(joints).all(-1) if labelled is None else labelled
    places = np.where(known[..., None], joints, np.nan)
    order = np.tile(np.arange(len(skeleton)), (len(joints), 1))
    across = _across(places, skeleton)
    for limb in _limbs(skeleton):
        right, left = limb[0]
        behind = ((places[:, left] - places[:, right]) * across).sum(-1) < 0  # false for NaN
        for right, left in limb:
            order[behind, right], order[behind, left] = left, right
    return order


def _across(joints: npt.NDArray[np.floating], skeleton: Skeleton) -> npt.NDArray[np.floating]:
    """(N, 2): where the right of the picture points when the trunk hangs down in it."""
    trunk = np.full((len(joints), 2), np.nan)
    names = [f"{side}_{part}" for part in ("shoulder", "hip") for side in ("left", "right")]
    ends = [place for place in map(skeleton.find, names) if place is not None]
    if len(ends) == 4:
        shoulders, hips = np.split(joints[:, ends], 2, axis=1)
        trunk = (hips - shoulders).mean(1)
    trunk = np.where(np.isnan(trunk).any(-1, keepdims=True), (0.0, 1.0), trunk)
    return trunk[:, ::-1] * (1, -1)


def take_joints(values: npt.NDArray[T], order: npt.NDArray[np.int64]) -> npt.NDArray[T]:
    """Values (N, J) or (N, J, 2) of the joints in the order (N, J) of `observer_order`."""
    index = order if values.ndim == 2 else order[..., None]
    taken: npt.NDArray[T] = np.take_along_axis(values, index, axis=1)
    return taken


def _limbs(skeleton: Skeleton) -> list[Sequence[tuple[int, int]]]:
    """The pairs (right, left) of each limb, the one that decides first."""
    parts = {pair: skeleton.names[pair[0]].part for pair in skeleton.flip_pairs}
    limbs = [[pair for name in limb for pair in parts if parts[pair] == name] for limb in LIMBS]
    others = [[pair] for pair in parts if not any(pair in limb for limb in limbs)]
    return [limb for limb in (*limbs, *others) if limb]
