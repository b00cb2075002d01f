"""The joints of data.yaml: their names, and the pairs of left and right."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from yolo_files import (
    label,
    ultralytics,
    write_yaml,
)

from softgate_ext.data.yolo import read_yolo
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import COCO, name_skeleton

EYES = ["left_eye", "right_eye", "nose"]
EARS = ["left_ear", "right_ear", "nose"]


def test_names_that_the_file_does_not_give(tmp_path: Path) -> None:
    file = ultralytics(tmp_path, kpt_names=None)
    people = read_yolo(file)
    assert people.skeleton.joints == ("joint_1", "joint_2", "joint_3")
    assert people.skeleton.flip_pairs == ((2, 1),)
    assert people.notes == ("kpt_names is missing; 3 joints are numbered",)
    write_yaml(tmp_path, kpt_names=None, flip_idx=None)
    people = read_yolo(file)
    assert people.skeleton.flip_pairs == () and "flip_idx is missing" in people.notes[1]
    write_yaml(tmp_path, kpt_names=["nose", "left_hand", "right_hand"], flip_idx=None)
    assert read_yolo(file).skeleton.flip_pairs == ((2, 1),)
    write_yaml(tmp_path, kpt_shape=[17, 3], kpt_names=None, flip_idx=list(COCO.flip_permutation))
    label(tmp_path, "train", lines="0 0.5 0.4 0.5 0.6" + " 0.5 0.5 2" * 17)
    assert read_yolo(file).skeleton == COCO


def test_names_and_flip_idx_tell_left_and_right_together(tmp_path: Path) -> None:
    file = ultralytics(tmp_path, kpt_names=["HandRTip", "HandLTip", "eyeL"], flip_idx=[0, 1, 2])
    people = read_yolo(file)
    assert people.skeleton.flip_pairs == ((0, 1),) and people.skeleton.unpaired == (2,)
    assert people.notes == (
        "flip_idx leaves handrtip, handltip in place; they change places, as their names say",
    )
    write_yaml(tmp_path, kpt_names=["HandRTip", "nose", "eyeL"], flip_idx=[2, 1, 0])
    people = read_yolo(file)
    assert people.skeleton.flip_pairs == ((0, 2),) and not people.notes  # right first


@pytest.mark.parametrize(
    "joints", [["left_eye", "right_eye", "left_ear", "right_ear"], COCO.joints]
)
def test_a_flip_idx_that_contradicts_the_names_gives_way_to_them(
    tmp_path: Path, joints: Sequence[str]
) -> None:
    joints = list(joints)
    first = joints.index("left_eye")
    flip = [*range(first), *(first + i for i in (2, 3, 0, 1)), *range(first + 4, len(joints))]
    file = ultralytics(
        tmp_path, kpt_shape=[len(joints), 3], kpt_names=joints, flip_idx=flip,
    )  # fmt: skip
    points = "".join(f" 0.{40 + i} 0.5 2" for i in range(len(joints)))
    label(tmp_path, "train", lines=f"0 0.5 0.4 0.5 0.6{points}")
    people = read_yolo(file)
    assert people.skeleton.flip_pairs == name_skeleton("x", joints).flip_pairs
    (note,) = people.notes
    assert re.fullmatch(
        "left and right are taken from the names of the joints: flip_idx joins left_(eye with left_ear|ear with left_eye)",
        note,
    )


@pytest.mark.parametrize("wrap", [lambda names: names, lambda names: {0: names}])
def test_one_odd_name_of_a_joint_costs_itself(
    tmp_path: Path, wrap: Callable[[list[Any]], Any]
) -> None:
    people = read_yolo(ultralytics(tmp_path, kpt_names=wrap(["nose", "Nose", None])))
    assert people.skeleton.joints == ("nose", "nose_2", "joint_3")
    assert people.notes == (
        "2 keypoint names that are not text, or given twice, get a number: Nose as Nose_2, None as joint_3",
    )


@pytest.mark.parametrize("keys", [(0, 1), ("0", "1"), ("cat", "doll")])
def test_classes_of_different_joints_are_refused_by_name(
    tmp_path: Path, keys: Sequence[Any]
) -> None:
    file = ultralytics(
        tmp_path, names=["cat", "doll"], kpt_names=dict(zip(keys, (EYES, EARS), strict=True))
    )
    with pytest.raises(
        InputError, match=r"different joints \(cat and doll\); give one data.yaml for each class"
    ):
        read_yolo(file)
    write_yaml(tmp_path, names=None, kpt_names={0: EYES, 1: EARS})
    with pytest.raises(InputError, match=r"different joints \(0 and 1\)"):
        read_yolo(file)


@pytest.mark.parametrize(
    "given",
    [
        {0: EYES, 1: [name.title() for name in EYES]},
        {0: EYES, 1: None},
        {-1: EARS, 0: EYES},  # names lists no class -1
    ],
)
def test_classes_of_equal_joints_are_one_set(tmp_path: Path, given: dict[int, Any]) -> None:
    file = ultralytics(tmp_path, names=["doll", "cat"], kpt_names=given, flip_idx=[1, 0, 2])
    people = read_yolo(file)
    assert people.skeleton.joints == tuple(EYES)
    assert people.notes == ("2 classes are read as one set",)


@pytest.mark.parametrize("number", [int, str, float])
def test_a_name_for_each_number_of_a_joint_is_read(
    tmp_path: Path, number: Callable[[int], Any]
) -> None:
    names = {number(place): EYES[place] for place in (2, 0, 1)}
    people = read_yolo(ultralytics(tmp_path, kpt_names=names, flip_idx=[1, 0, 2]))
    assert people.skeleton.joints == tuple(EYES) and not people.notes


def test_one_odd_name_by_number_costs_itself(tmp_path: Path) -> None:
    people = read_yolo(ultralytics(tmp_path, kpt_names={0: "nose", 1: None, 2: "hand"}))
    assert people.skeleton.joints == ("nose", "joint_2", "hand")
    assert people.notes == (
        "1 keypoint name that is not text, or given twice, gets a number: None as joint_2",
    )


@pytest.mark.parametrize("flip", [[], [1.0, 0.0, 2.0]])
def test_a_flip_idx_may_be_empty_or_of_whole_floats(tmp_path: Path, flip: list[float]) -> None:
    people = read_yolo(ultralytics(tmp_path, kpt_names=EYES, flip_idx=flip))
    assert people.skeleton.flip_pairs == ((1, 0),) and not people.notes
    people = read_yolo(ultralytics(tmp_path, kpt_names=None, flip_idx=flip))
    assert people.skeleton.flip_pairs == (((1, 0),) if flip else ())
    assert len(people.notes) == (1 if flip else 2)


@pytest.mark.parametrize(
    ("flip", "said"),
    [
        ([1, 0], r"got \[1, 0\]; takes the index of each joint in the mirror image"),
        ([0, 2, 2], r"got \[0, 2, 2\]; takes the index of each"),
        ([0, 2, "x"], r"got \[0, 2, 'x'\]; takes the index of each"),
        (["0", "2", "1"], r"got \['0', '2', '1'\]; takes the index of each"),
        ([0.5, 2, 1], r"got \[0.5, 2, 1\]; takes the index of each"),
        ([0, 2, True], r"got \[0, 2, True\]; takes the index of each"),
        ({0: 0, 1: 2, 2: 2}, r"got \{0: 0, 1: 2, 2: 2\}; takes the index of each"),
        ("None", "got None; takes the index of each"),
        (5, "got 5; takes the index of each"),
        ([1, 2, 0], "got .* in two pairs; takes each joint once"),
    ],
)
def test_an_odd_flip_idx_costs_itself(tmp_path: Path, flip: Any, said: str) -> None:
    people = read_yolo(ultralytics(tmp_path, kpt_names=EYES, flip_idx=flip))
    assert people.skeleton.flip_pairs == ((1, 0),)
    (note,) = people.notes
    assert re.fullmatch(
        f"left and right are taken from the names of the joints: flip_idx: {said}.*", note
    )
