"""Person-centric and observer-centric labels: left and right of the person, or of the image."""

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
"""Joints that get the same side, which the first of them decides. Other joints are decided alone."""


def observer_order(
    joints: npt.NDArray[np.floating],
    skeleton: Skeleton,
    labelled: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """The order of the joints that turns person-centric into observer-centric labels.

    Observer-centric labels name all people as if they faced the camera. The image is thought of as
    turned so that the trunk points down from the shoulders. The arm whose shoulder is then further
    right is called left, and so is the leg with that hip. The labels of a person seen from behind are
    exchanged, those of a person seen from the front are kept, and a limb keeps one side even where
    limbs cross. LSP's labels are converted by these rules (Eichner and Ferrari, ACCV 2012).

    Args:
        joints: (N, J, 2), in pixels, with labels of either kind; NaN for a missing joint.
        skeleton: the J joints.
        labelled: (N, J) bool, the joints whose position is known; None for all. An arm or leg whose
            first joint is not known on both sides keeps its label. If shoulders or hips are not
            known, the trunk is assumed to point down in the image.

    Returns:
        (N, J) indices, for `take_joints`.

    Raises:
        InputError: the joints have no left and right, or a joint has no partner on the other side.
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
    """(N, 2): the direction that points right when the image is turned so that the trunk points down."""
    trunk = np.full((len(joints), 2), np.nan)
    names = [f"{side}_{part}" for part in ("shoulder", "hip") for side in ("left", "right")]
    ends = [place for place in map(skeleton.find, names) if place is not None]
    if len(ends) == 4:
        shoulders, hips = np.split(joints[:, ends], 2, axis=1)
        trunk = (hips - shoulders).mean(1)
    trunk = np.where(np.isnan(trunk).any(-1, keepdims=True), (0.0, 1.0), trunk)
    return trunk[:, ::-1] * (1, -1)


def take_joints(values: npt.NDArray[T], order: npt.NDArray[np.int64]) -> npt.NDArray[T]:
    """Values (N, J) or (N, J, 2) of the joints, reordered by the result (N, J) of `observer_order`."""
    index = order if values.ndim == 2 else order[..., None]
    taken: npt.NDArray[T] = np.take_along_axis(values, index, axis=1)
    return taken


def _limbs(skeleton: Skeleton) -> list[Sequence[tuple[int, int]]]:
    """The pairs (right, left) of joints of each limb; the first pair of a limb decides its side."""
    parts = {pair: skeleton.names[pair[0]].part for pair in skeleton.flip_pairs}
    limbs = [[pair for name in limb for pair in parts if parts[pair] == name] for limb in LIMBS]
    others = [[pair] for pair in parts if not any(pair in limb for limb in limbs)]
    return [limb for limb in (*limbs, *others) if limb]
