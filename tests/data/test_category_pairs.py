"""The pairs of left and right joints that a category of a file in COCO's form has."""

import re
from pathlib import Path
from typing import Any

import pytest
from official import coco, spread, write_coco

from softgate_ext.data.coco import read_coco
from softgate_ext.data.join import join
from softgate_ext.data.poseset import PoseSet
from softgate_ext.pose.skeleton import COCO


def read(path: Path, joints: list[str], **told: Any) -> PoseSet:
    contents = coco([{"keypoints": spread(len(joints))}])
    contents["categories"][0].update(keypoints=joints, skeleton=[], **told)
    return read_coco(write_coco(path / "a" / "x.json", contents))


def test_the_pairs_of_the_names_come_from_the_names_as_written(tmp_path: Path) -> None:
    people = read(tmp_path, ["Nose", "HandLTip", "HandRTip", "eyeL"])
    assert people.skeleton.joints == ("nose", "handltip", "handrtip", "eyel")
    assert people.skeleton.flip_pairs == ((2, 1),) and people.skeleton.unpaired == (3,)


@pytest.mark.parametrize(
    "told",
    [
        {"flip_pairs": [[0, 1], [3, 2]]},
        {"flip_pairs": [["A", "B"], ["Oeil", "Auge"]]},
        {"keypoint_flip_map": [["A", "B"], ["B", "A"], ["C", "C"], ["Auge", "Oeil"]]},
        {"keypoint_flip_map": {"A": "B", "Auge": "Oeil"}},
        {"flip_idx": [1, 0, 3, 2, 4]},
        {"swap": ["B", "A", "Oeil", "Auge", ""]},
        {"swap": [["A", "B"], ["oeil", "Auge"], ["C", "C"]]},
        {"swap": [[0, 1], [3, 2]]},
        {"swap": {"A": "B", "B": "A", "Auge": "Oeil", "C": ""}},
        {
            "keypoint_info": {
                "0": {"name": "A", "swap": "B"}, "1": {"name": "B", "swap": "A"},
                "2": {"name": "Auge", "swap": "Oeil"}, "3": {"name": "Oeil", "swap": "Auge"},
                "4": {"name": "C", "swap": ""},
            }
        },
    ],
)  # fmt: skip
def test_every_tools_word_for_them(tmp_path: Path, told: dict[str, Any]) -> None:
    people = read(tmp_path, ["A", "B", "Auge", "Oeil", "C"], **told)
    assert people.skeleton.flip_permutation == (1, 0, 3, 2, 4)
    assert people.notes == ()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"flip_pairs": [[1, 3], [2, 4]]}, "flip_pairs joins right_eye with mouth"),
        ({"flip_pairs": [[2, 1], [3, 9]]}, "flip_pairs: got 3 9; takes pairs of joints"),
        ({"flip_pairs": [[0, 3], [1, 2]]}, "flip_pairs joins nose with left_eye"),
        ({"flip_idx": [1, 2, 0, 4, 3]}, "flip_idx: got .* in two pairs"),
        ({"swap": ["a"]}, r"swap: got \['a'\]; takes pairs of joints, or for each joint the one"),
        ({"swap": 3}, "swap: got 3; takes pairs of joints, or"),
        ({"swap": [["nose", "tails"]]}, "swap: got nose tails; takes pairs of joints of"),
        ({"swap": [["nose", "mouth"], "tail"]}, "swap: got tail; takes pairs of joints of"),
        ({"keypoint_info": {"0": {}}}, "keypoint_info: got {'0': {}}; takes an entry with name"),
        ({"keypoint_info": [3]}, r"keypoint_info: got \[3\]; takes an entry with name and swap"),
        ({"flip_pairs": [[[1], [2]]]}, r"flip_pairs: got \[1\] \[2\]; takes pairs of joints of"),
        ({"flip_pairs": [["nose"]]}, "flip_pairs: got nose; takes pairs of joints of"),
        ({"flip_pairs": ["nose", "tail"]}, r"flip_pairs: got \['nose', .*; takes pairs of joints$"),
        ({"flip_idx": 3}, "flip_idx: got 3; takes the index of each joint in the mirror image"),
        ({"flip_idx": [1, None]}, r"flip_idx: got \[1, None\]; takes the index of each joint"),
        (
            {"flip_idx": [2, 1, 2, 3, 4]},
            r"flip_idx: got \[2, 1, 2, 3, 4\]; takes the index of each",
        ),
        ({"flip_pairs": None}, None),
    ],
)
def test_pairs_that_cannot_be_right_give_way_to_the_names_and_are_said(
    tmp_path: Path, told: dict[str, Any], words: str | None
) -> None:
    people = read(tmp_path, ["left_eye", "tail", "right_eye", "nose", "mouth"], **told)
    assert people.skeleton.flip_pairs == ((2, 0),)
    if words is None:
        assert people.notes == ()
    else:
        (note,) = people.notes
        assert note.startswith("left and right are taken from the names of the joints: ")
        assert re.search(words, note)


def test_indices_that_join_a_joint_with_another_than_its_own_give_way(tmp_path: Path) -> None:
    """As where they are of another order of the joints."""
    joints = ["left_eye", "right_eye", "left_ear", "right_ear"]
    people = read(tmp_path, joints, flip_idx=[3, 2, 1, 0])
    assert people.skeleton.flip_pairs == ((1, 0), (3, 2))
    assert people.notes == (
        "left and right are taken from the names of the joints: flip_idx joins right_ear with left_eye",
    )


def test_joints_that_are_left_in_place_go_by_their_names_and_are_told(tmp_path: Path) -> None:
    """Roboflow writes such a flip_idx where nobody set one."""
    for told in ({"flip_idx": [0, 1, 2]}, {"swap": ["left_eye", "tail", "Right_Eye"]}):
        people = read(tmp_path, ["left_eye", "tail", "right_eye"], **told)
        assert people.skeleton.flip_pairs == ((2, 0),)
        (note,) = people.notes
        words = "leaves left_eye, right_eye in place; they change places, as their names say"
        assert note == f"{next(iter(told))} {words}"


def test_coco_s_own_joints_are_told_of_like_any_others(tmp_path: Path) -> None:
    people = read(tmp_path, list(COCO.joints), flip_pairs=[[1, 3], [2, 4]])
    assert people.skeleton == COCO
    (note,) = people.notes
    assert note.startswith(
        "left and right are taken from the names of the joints: flip_pairs joins left_e"
    )
    people = read(tmp_path, list(COCO.joints), flip_pairs=[[1, 2], [3, 4]])
    assert people.skeleton == COCO and people.notes == ()


def test_sets_in_two_spellings_are_joined_with_what_they_say_of_the_joints(tmp_path: Path) -> None:
    one = read(tmp_path / "1", ["left_eye", "right_eye"])
    two = read(tmp_path / "2", ["Right Eye", "Left Eye", "Nose"], sigmas=[0.1, 0.2, 0.3])
    both = join([one, two])
    assert both.skeleton.joints == ("left_eye", "right_eye", "nose")
    assert both.skeleton.flip_pairs == ((1, 0),)
    assert both.labelled.tolist() == [[True, True, False], [True, True, True]]
    assert both.sigmas == {"left_eye": 0.2, "right_eye": 0.1, "nose": 0.3}
