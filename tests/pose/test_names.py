"""Left and right in the names of joints, in many spellings."""

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgate_ext.errors import InputError
from softgate_ext.pose.draw import draw_pose
from softgate_ext.pose.names import JointName, pairs_by_name, read_names
from softgate_ext.pose.protocols import named_protocol, torso_pck
from softgate_ext.pose.sides import observer_order
from softgate_ext.pose.skeleton import Skeleton, get_skeleton, join_skeletons, name_skeleton

LSP, MPII, FLIC, COCO = map(get_skeleton, ("lsp", "mpii", "flic", "coco"))


@pytest.mark.parametrize(
    ("name", "side", "part"),
    [
        ("left_hip", "left", "hip"), ("Right Shoulder", "right", "shoulder"),
        ("L_Eye", "left", "eye"), ("Right-ankle", "right", "ankle"), ("eyeL", "left", "eye"),
        ("RHip", "right", "hip"), ("medial_right_knee", "right", "medialknee"),
        ("leftEyeInner", "left", "eyeinner"), ("LEFT_EYE_INNER", "left", "eyeinner"),
        ("lefteyeinner", "left", "eyeinner"), ("hand.R", "right", "hand"),
        ("LFrontPaw", "left", "frontpaw"), ("l_front_paw", "left", "frontpaw"),
        ("front l paw", "left", "frontpaw"), ("RtKnee", "right", "knee"),
        ("lt elbow", "left", "elbow"), ("HandTipLeft", "left", "handtip"),
        ("right", "right", ""), ("1_left", "left", "1"), ("hip_l_1_11", "left", "hip1_11"),
    ],
)  # fmt: skip
def test_a_side_is_found_in_every_usual_spelling(name: str, side: str, part: str) -> None:
    if name == "hip_l_1_11":  # the letter of a number counts beside its mirror image only
        assert read_names((name, "hip_r_1_11"))[0] == JointName(part, ("left",))
        return
    (found,) = read_names((name,))
    assert (found.side, found.part) == (side, part)


def test_what_only_looks_like_a_side_is_none() -> None:
    names = (
        "ear", "elbow", "Roof", "nose_ridge", "Rump", "lip", "leg", "upright", "L5", "spine_L5",
        "Tail", "rear", "Lefty", "pelvis", "collar", "12", "鼻",
    )  # fmt: skip
    assert [name.sides for name in read_names(names)] == [()] * len(names)
    assert pairs_by_name(names) == ((), ())


@pytest.mark.parametrize(
    "joints",
    [
        ("rhip", "lhip", "leg"), ("RASI", "LASI", "SACR"), ("eyer", "eyel", "nose"),
        ("r1", "l1", "L5"), ("R", "L", "ear"), ("eyeright", "eyeleft", "lip"),
        ("fr", "fl", "roof"), ("Rfoot", "Lfoot", "Rump"), ("eyeR1", "eyeL1", "eye1"),
        ("right_eye_left_corner", "left_eye_right_corner", "mouth"),
    ],
)  # fmt: skip
def test_what_is_grown_together_is_a_side_beside_its_mirror_image(joints: tuple[str, ...]) -> None:
    assert pairs_by_name(joints) == (((0, 1),), ())


@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
@pytest.mark.parametrize(
    "form", ["{}paw", "{}_hip_joint", "hip_{}", "{}", "Paw{}", "{}thigh", "{}1", "hip {} joint"]
)
@pytest.mark.parametrize("corners", ["FR FL RR RL", "FR FL HR HL", "FR FL BR BL"])
def test_corners_of_quadrupeds_are_sides_where_all_four_are_there(
    corners: str, form: str, spell: Callable[[str], str]
) -> None:
    names = [spell(form.format(corner)) for corner in corners.split()]
    assert pairs_by_name(("nose", *names)) == (((1, 2), (3, 4)), ())
    assert name_skeleton("dog", names).flip_pairs == ((0, 1), (2, 3))


def test_corners_are_the_same_joints_as_in_words() -> None:
    assert read_names(("FRpaw", "FLpaw", "RRpaw", "RLpaw")) == read_names(
        ("right_front_paw", "left_front_paw", "right_rear_paw", "RearLeftPaw")
    )


def test_corners_that_are_not_all_there_are_none() -> None:
    skeleton = name_skeleton("dog", ("FRpaw", "FLpaw", "RRpaw", "frame", "flame", "rrame"))
    assert 2 in skeleton.unpaired and "front" not in skeleton.names[0].part


@pytest.mark.parametrize(
    ("joints", "alone"),
    [
        (("nose", "L_Eye"), ["l_eye"]),
        (("eyeL", "eye"), ["eyel"]),
        (("LHip", "RKnee", "LKnee"), ["lhip"]),
        (("left_eye", "L Eye", "right_eye"), ["l eye"]),
        (("left_eye", "L Eye", "eye right"), ["left_eye", "l eye", "eye right"]),  # which of two?
    ],
)
def test_a_side_without_the_other_is_kept_and_cannot_be_mirrored(
    joints: tuple[str, ...], alone: list[str]
) -> None:
    skeleton = name_skeleton("doll", joints)
    assert [skeleton.joints[i] for i in skeleton.unpaired] == alone
    stored = get_skeleton(json.loads(json.dumps(skeleton.stored)))
    assert stored == skeleton
    with pytest.raises(InputError, match=r"^flip: got .* of doll .*; turn .*--flip 0.*--swap"):
        _ = stored.flip_permutation


@pytest.mark.parametrize(
    "joints",
    [
        ("R_Eye", "L_Eye", "eyeR", "eyeL"),
        ("right ear", "left ear", "RtEar", "LtEar"),
        ("r_ear", "l_ear", "rear", "lear"),
        ("RightEye_LeftCorner", "LeftEye_RightCorner", "R_Eye_L_Corner", "L_Eye_R_Corner"),
    ],
)
def test_each_spelling_of_the_same_joints_is_paired_with_its_own_kind(
    joints: tuple[str, ...],
) -> None:
    skeleton = name_skeleton("doll", ("nose", *joints))
    assert skeleton.flip_pairs == ((1, 2), (3, 4)) and skeleton.unpaired == ()


Spell = Callable[[str, str], str]


def camel(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("_"))


# What "left_hip" may be called, by its side and part: told by itself,
CLEAR: list[Spell] = [
    lambda side, part: f"{side}_{part}",
    lambda side, part: f"{side.title()} {part.title()}",
    lambda side, part: f"{part}-{side}",
    lambda side, part: f"{part}.{side[0].upper()}",
    lambda side, part: f"{side[0].upper()}_{part}",
    lambda side, part: f"{side}{camel(part)}",
    lambda side, part: f"{side}{part}".upper(),
    lambda side, part: f"{side[0]}t {part}",
]
# told by capitals, which are not kept,
CAPITALS: list[Spell] = [
    lambda side, part: f"{side[0].upper()}{camel(part)}",
    lambda side, part: f"{camel(part)}{side[0].upper()}",
]
# and by the other side in the same spelling.
GROWN: list[Spell] = [lambda side, part: side[0] + part, lambda side, part: part + side[0]]


def respelled(skeleton: Skeleton, spell: Callable[[], Spell]) -> list[str]:
    """The names with a side anew, each in a spelling of its own."""
    parted = [(joint, *joint.split("_", 1)) for joint in skeleton.joints]
    return [
        spell()(*parts) if parts[:1] in (["left"], ["right"]) else joint for joint, *parts in parted
    ]


@st.composite
def spellings(draw: st.DrawFn, skeleton: Skeleton) -> list[str]:
    """One spelling of a whole set, or several that can be told from each other in lower case."""
    one = draw(st.sampled_from([None, *CAPITALS, *GROWN]))
    return respelled(skeleton, lambda: one or draw(st.sampled_from(CLEAR)))


@given(st.data(), st.sampled_from([LSP, MPII, FLIC, COCO]))
def test_names_that_differ_in_spelling_alone_have_the_same_pairs(
    data: st.DataObject, skeleton: Skeleton
) -> None:
    mixed = st.sampled_from([*CLEAR, *CAPITALS, lambda side, part: f"{side[0]}t{camel(part)}"])
    names = respelled(skeleton, lambda: data.draw(mixed))
    own = name_skeleton("own", names, skeleton.limbs)
    assert own.joints == tuple(name.lower() for name in names)
    assert own.flip_permutation == skeleton.flip_permutation
    assert set(own.flip_pairs) == set(skeleton.flip_pairs)  # right first
    stored = json.loads(json.dumps(own.stored))
    assert get_skeleton(stored) == own


@given(st.data(), st.sampled_from([LSP, MPII, FLIC, COCO]))
def test_all_that_goes_by_sides_is_the_same_for_other_spellings(
    data: st.DataObject, skeleton: Skeleton
) -> None:
    own = name_skeleton("own", data.draw(spellings(skeleton)), skeleton.limbs)
    assert own.flip_permutation == skeleton.flip_permutation
    # As a run stored it when names were read in one spelling alone.
    before = {"name": "own", "joints": own.joints, "flip_pairs": [], "limbs": skeleton.limbs}
    assert get_skeleton(before) == own
    assert own.groups == skeleton.groups
    for joint in skeleton.joints:
        assert own.index(joint) == skeleton.index(joint)
    joints = np.random.default_rng(0).uniform(0, 60, (5, len(own), 2))
    np.testing.assert_array_equal(observer_order(joints, own), observer_order(joints, skeleton))
    assert torso_pck(own).reference == torso_pck(skeleton).reference
    grey = np.full((64, 64, 3), 127, np.uint8)
    drawn = [draw_pose(grey, joints[0], skeleton=one) for one in (own, skeleton)]
    np.testing.assert_array_equal(*drawn)


@given(st.data())
def test_a_union_has_each_joint_once_in_the_first_ones_spelling(data: st.DataObject) -> None:
    own = name_skeleton("own", data.draw(spellings(MPII)))
    both = join_skeletons([LSP, own])
    assert both.joints == join_skeletons([LSP, MPII]).joints
    assert both.flip_permutation == join_skeletons([LSP, MPII]).flip_permutation
    assert [i for i in own.places_in(both) if i is not None] == MPII.places_in(both)


def test_a_union_pairs_what_two_sets_have_on_one_side_each() -> None:
    left, right = name_skeleton("a", ("nose", "LEye")), name_skeleton("b", ("right eye", "L_Ear"))
    both = join_skeletons([left, right, name_skeleton("c", ("left-eye",))])
    assert both.joints == ("nose", "leye", "right eye", "l_ear")
    assert both.flip_pairs == ((2, 1),) and both.unpaired == (3,)
    assert join_skeletons([name_skeleton("a", ("L_Eye",)), right]).flip_pairs == ((1, 0),)


def test_sigmas_of_coco_are_found_for_its_joints_in_other_spellings() -> None:
    own = name_skeleton("own", respelled(COCO, lambda: CLEAR[1]))
    usual, other = (named_protocol("oks", one, (), {}).sigmas for one in (COCO, own))
    assert other == usual is not None


@pytest.mark.parametrize(
    "joints",
    [
        ("LShoulder", "ShoulderR", "HipL", "RHip"),
        ("LShoulder", "RHip"),
        ("left_shoulder", "Nose", "hipR"),
    ],
)
def test_the_torso_is_found_in_a_set_of_several_spellings(joints: tuple[str, ...]) -> None:
    own = name_skeleton("own", joints)
    ends = (0, len(joints) - 1)
    assert torso_pck(own).reference == ends
    stored = get_skeleton(json.loads(json.dumps(own.stored)))
    assert stored.joints == own.joints and torso_pck(stored).reference == ends
    both = join_skeletons([own, name_skeleton("b", ("Tail", "EarL"))])
    assert torso_pck(both).reference == ends and both.index("left_ear") == len(both) - 1
    assert [both.find(joint) for joint in joints] == [*range(len(joints))]
    with pytest.raises(InputError, match="not one that was stored"):
        get_skeleton({**asdict(own), "written": ["other"] * len(joints)})
