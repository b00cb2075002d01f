"""Left and right as seen in the image."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softgate_ext.errors import InputError
from softgate_ext.pose.sides import observer_order, take_joints
from softgate_ext.pose.skeleton import FLIC, LSP, Skeleton, name_skeleton

SKELETONS = st.sampled_from([LSP, FLIC])
HALVES = {"right": (0, 1, 2, 6, 7, 8), "left": (5, 4, 3, 11, 10, 9)}


def named(joints: np.ndarray, skeleton: Skeleton = LSP) -> np.ndarray:
    return take_joints(joints, observer_order(joints, skeleton))


def standing() -> np.ndarray:
    """(1, 14, 2): somebody who faces the camera, hence their right on the left of the picture."""
    joints = np.zeros((1, 14, 2))
    joints[0, list(HALVES["right"]), 0] = -10
    joints[0, list(HALVES["left"]), 0] = 10
    joints[0, :, 1] = (90, 70, 50, 50, 70, 90, 45, 30, 15, 15, 30, 45, 10, 0)
    return joints


def people(skeleton: Skeleton) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (3, len(skeleton), 2), elements=st.integers(0, 20).map(float))


def test_from_the_front_names_stay_and_from_behind_they_change() -> None:
    front = standing()
    behind = front * [-1, 1]
    np.testing.assert_array_equal(named(front), front)
    swapped = behind[:, list(LSP.flip_permutation)]
    np.testing.assert_array_equal(named(behind), swapped)
    assert (named(behind)[0, 9, 0], named(behind)[0, 2, 0]) == (10, -10)


def test_limbs_stay_whole_where_they_cross_and_a_twisted_body_is_named_by_halves() -> None:
    crossed = standing()
    crossed[0, [0, 5], 0] *= -1  # ankles
    crossed[0, [6, 11], 0] *= -1  # wrists
    np.testing.assert_array_equal(named(crossed), crossed)
    twisted = standing()
    twisted[0, 6:12, 0] *= -1
    expected = twisted.copy()
    expected[0, 6:12] = twisted[0, 11:5:-1]
    np.testing.assert_array_equal(named(twisted), expected)


@pytest.mark.parametrize("degrees", [30, 90, 180, 250])
def test_whoever_lies_or_stands_on_their_head_is_named_as_if_they_stood(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for person in (standing(), standing() * [-1, 1]):
        expected = observer_order(person, LSP)
        np.testing.assert_array_equal(observer_order(person @ rotation, LSP), expected)
    on_the_head = standing() @ rotation
    on_the_head[0, 2] = np.nan  # a hip: then the trunk is taken to hang down
    arms = observer_order(on_the_head, LSP)[0, 6:12].tolist()
    swapped = (on_the_head[0, 9, 0] < on_the_head[0, 8, 0]).item()
    assert arms == ([11, 10, 9, 8, 7, 6] if swapped else [6, 7, 8, 9, 10, 11])


def test_an_arm_whose_shoulder_is_not_known_keeps_its_name() -> None:
    behind = standing() * [-1, 1]
    labelled = np.ones((1, 14), bool)
    labelled[0, 8] = False
    order = observer_order(behind, LSP, labelled)
    assert order[0, 6:12].tolist() == list(range(6, 12)) and order[0, 2] == 3
    behind[0, 8] = np.nan
    np.testing.assert_array_equal(observer_order(behind, LSP), order)


def sides(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(N, 2): how far the left shoulder and the left hip are to the right of the right ones, the
    trunk turned to hang down: by complex numbers, of which the trunk becomes i."""
    places = joints[..., 0] + 1j * joints[..., 1]
    left, right = (
        places[:, [skeleton.index(f"{side}_{part}") for part in ("shoulder", "hip")]]
        for side in ("left", "right")
    )
    trunk = ((left + right)[:, 1] - (left + right)[:, 0])[:, None]
    with np.errstate(invalid="ignore"):
        return ((left - right) / np.where(trunk == 0, np.nan, trunk) * 1j).real


@given(st.data(), SKELETONS)
def test_what_decides_is_on_its_side_and_naming_again_changes_nothing(
    data: st.DataObject, skeleton: Skeleton
) -> None:
    joints = data.draw(people(skeleton))
    apart = sides(joints, skeleton)
    assume((np.abs(apart) > 1e-6).all())  # false for NaN
    order = observer_order(joints, skeleton)
    for k, part in enumerate(("shoulder", "hip")):
        left, right = (skeleton.index(f"{side}_{part}") for side in ("left", "right"))
        expected = np.where(apart[:, k] < 0, right, left)
        np.testing.assert_array_equal(order[:, left], expected)
    once = take_joints(joints, order)
    assert (sides(once, skeleton) > 0).all()
    np.testing.assert_array_equal(named(once, skeleton), once)
    for before, after in zip(joints, once, strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))


@given(st.data(), SKELETONS)
def test_whose_names_they_were_does_not_matter(data: st.DataObject, skeleton: Skeleton) -> None:
    """Hence predictions of either kind may be measured; places must differ to tell sides at all."""
    joints = data.draw(people(skeleton)) + np.arange(len(skeleton))[:, None] * [1e-3, 0]
    assume((np.abs(sides(joints, skeleton)) > 1e-6).all())
    exchanged = joints[:, list(skeleton.flip_permutation)]
    limbs = [i for i, name in enumerate(skeleton.joints) if "eye" not in name]
    expected = named(joints, skeleton)[:, limbs]
    np.testing.assert_array_equal(named(exchanged, skeleton)[:, limbs], expected)


def test_without_sides_there_is_nothing_to_name() -> None:
    with pytest.raises(InputError, match="labels: got oc, but the joints of line have no left"):
        observer_order(np.zeros((1, 2, 2)), name_skeleton("line", ("start", "end")))
