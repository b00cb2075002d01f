"""Categories of files in COCO's form: joints, names and limbs as annotation tools write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_coco import GOOD, good, hands, read, two_categories
from official import KEYPOINTS, coco, spread

from softgate_ext.errors import InputError
from softgate_ext.pose.draw import draw_pose
from softgate_ext.pose.skeleton import COCO


@pytest.mark.parametrize(
    ("given", "limbs", "notes"),
    [
        ([[1, 2], [1, 3]], ((0, 1), (0, 2)), ()),
        # CrowdPose and converters keep the limbs of another scheme.
        ([[1, 2], [3, 17], [16, 14]], ((0, 1),), ("2 limbs that do not join two joints are ignored: "
         "[3, 17], [16, 14]",)),
        ([[0, 1], [0, 2]], ((0, 1), (0, 2)),
         ("the limbs count joints from 0 instead of 1, and are read in this way",)),
        # With a 3 in it, which joint 0 to 2 do not reach, it counts from 1.
        ([[0, 1], [1, 3]], ((0, 2),), ("1 limb that does not join two joints is ignored: [0, 1]",)),
        ([[2, 2], [1], None, ["nose", "tail"], [1, None], [-1, 2], [1.5, 2], [2, 3]], ((1, 2),),
         ("7 limbs that do not join two joints are ignored: [2, 2], [1], None, ['nose', 'tail'], [1, None] "
          "and 2 more",)),
        ([["nose", "Left_Hand"], ["right_hand", "nose"]], ((0, 1), (2, 0)), ()),
        ([["nose", "nose"], ["nose", 2], ["nose", "left_hand", "nose"], [1, 3]], ((0, 2),),
         ("3 limbs that do not join two joints are ignored: ['nose', 'nose'], ['nose', 2], "
          "['nose', 'left_hand', 'nose']",)),
        (None, (), ()),
        ("none", (), ("the skeleton is ignored, because it is not a list of limbs",)),
        ({"nose": [1, 2]}, (), ("the skeleton is ignored, because it is not a list of limbs",)),
    ],
)  # fmt: skip
def test_limbs_are_no_gate(
    tmp_path: Path, given: Any, limbs: tuple[tuple[int, int], ...], notes: tuple[str, ...]
) -> None:
    contents = coco([{"keypoints": GOOD}])
    contents["categories"][0]["skeleton"] = given
    people = read(tmp_path, contents)
    assert people.skeleton.limbs == limbs and people.notes == notes
    draw_pose(np.zeros((20, 20, 3), np.uint8), people.joints[0], skeleton=people.skeleton)


def test_categories_of_equal_keypoints_are_one_set(tmp_path: Path) -> None:
    """AP-10K has 54, an animal each."""
    contents = coco([{"keypoints": good(i), "category_id": 1 + i % 54} for i in range(60)])
    contents["categories"] = [
        {"id": 1 + i, "name": f"animal {i}", "supercategory": "Animal", "keypoints": KEYPOINTS,
         "skeleton": [[1, 2]]}
        for i in range(54)
    ]  # fmt: skip
    people = read(tmp_path, contents)
    assert len(people) == 60
    assert people.skeleton.name == "animal" and people.skeleton.limbs == ((0, 1),)
    assert people.notes == ("54 categories with the same keypoints are read as one set",)


def test_of_categories_with_other_keypoints_the_annotated_one_is_read(tmp_path: Path) -> None:
    people = read(tmp_path, two_categories([{"keypoints": [1, 2, 2, 5, 6, 2], "category_id": 2}]))
    assert people.skeleton.joints == ("seat", "back")
    assert people.notes == ("1 category with other keypoints and no annotations is skipped: Doll",)


def test_several_annotated_ones_are_refused_by_name(tmp_path: Path) -> None:
    chair = {"keypoints": [1, 2, 2, 5, 6, 2], "category_id": 2}
    with pytest.raises(InputError, match=r"different keypoints \(3 of Doll; 2 of chair\)"):
        read(tmp_path, two_categories([{"keypoints": GOOD}, chair]))


@pytest.mark.parametrize("field", ["name", "supercategory", "skeleton"])
@pytest.mark.parametrize("value", ["absent", None])
def test_a_category_may_lack_all_but_its_keypoints(
    tmp_path: Path, field: str, value: str | None
) -> None:
    contents = coco([{"keypoints": GOOD}])
    category = contents["categories"][0] = {"supercategory": "Toy", **contents["categories"][0]}
    del category[field]
    if value is None:
        category[field] = None
    people = read(tmp_path, contents)
    assert len(people) == 1 and people.notes == ()
    assert people.skeleton.name == ("toy" if field == "name" else "doll")
    assert people.skeleton.limbs == (() if field == "skeleton" else ((0, 1), (0, 2)))
    contents["categories"][0] = {"id": 1, "keypoints": KEYPOINTS}
    assert read(tmp_path, contents).skeleton.name == "pose"


@pytest.mark.parametrize("names", [{}, {"keypoints": []}, {"keypoints": None}])
def test_joints_without_names_are_numbered(tmp_path: Path, names: dict[str, Any]) -> None:
    """300W: 68 points of a face."""
    contents = coco(
        [
            {"keypoints": spread(68)},
            {"keypoints": spread(68), "image_id": 11},
            {"keypoints": [4, 5, 2]},
        ]
    )
    contents["categories"] = [{"id": 1, "name": "face", "skeleton": [[1, 68]], **names}]
    people = read(tmp_path, contents)
    assert people.joints.shape == (2, 68, 2) and people.skeleton.limbs == ((0, 67),)
    assert people.skeleton.joints[::67] == ("joint_1", "joint_68")
    assert people.notes == (
        "no category names its keypoints; 68 joints are numbered",
        "1 annotation whose keypoints are not 204 finite numbers is left out: 102",
    )


@pytest.mark.parametrize(
    ("names", "joints", "told"),
    [
        (["nose", None, "hand"], ("nose", "joint_2", "hand"), "None as joint_2"),
        (["hand", "nose", "Hand"], ("hand", "nose", "hand_3"), "Hand as Hand_3"),
        (["a_3", "a", "a"], ("a_3", "a", "a_3_3"), "a as a_3_3"),
    ],
)
def test_names_that_are_none_or_given_twice_are_numbered(
    tmp_path: Path, names: list[Any], joints: tuple[str, ...], told: str
) -> None:
    contents = coco([{"keypoints": GOOD}])
    contents["categories"][0].update(keypoints=names, skeleton=[[1, 2]])
    people = read(tmp_path, contents)
    assert people.skeleton.joints == joints and people.skeleton.limbs == ((0, 1),)
    assert people.notes == (
        f"1 keypoint name that is not text, or given twice, gets a number: {told}",
    )


@pytest.mark.parametrize("kinds", [[1, 1], [1, 2], [None, None]])
@pytest.mark.parametrize("categories", ["absent", None, [], 3])
def test_a_file_without_categories_is_read(
    tmp_path: Path, categories: Any, kinds: list[int | None]
) -> None:
    contents = coco([{"keypoints": GOOD, "category_id": kind} for kind in kinds])
    contents["categories"] = categories
    if categories == "absent":
        del contents["categories"]
    people = read(tmp_path, contents)
    assert len(people) == 2 and people.skeleton.joints == ("joint_1", "joint_2", "joint_3")
    assert people.notes[:2] == (
        "the file has no list of categories",
        "no category names its keypoints; 3 joints are numbered",
    )


@pytest.mark.parametrize("names", [{"0": "nose", "1": "left_hand"}, "nose,left_hand,right_hand", 3])
def test_names_that_are_no_list_are_told(tmp_path: Path, names: Any) -> None:
    contents = coco([{"keypoints": GOOD}])
    contents["categories"][0]["keypoints"] = names
    people = read(tmp_path, contents)
    assert people.skeleton.joints == ("joint_1", "joint_2", "joint_3")
    assert people.notes[:2] == (
        "1 category has keypoints that are not a list of names: Doll",
        "no category names its keypoints; 3 joints are numbered",
    )


def test_a_category_without_an_id_is_named_where_there_is_no_other(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD}])
    del contents["categories"][0]["id"]
    with pytest.raises(
        InputError,
        match=r"a category with keypoints and an id, .* \(1 category without an id is .* number 1\)$",
    ):
        read(tmp_path, contents)


def test_51_numbers_for_21_names(tmp_path: Path) -> None:
    people = read(tmp_path, hands(51, 63, 51))
    assert len(people) == 1 and people.notes == (
        "2 annotations whose keypoints are not 63 finite numbers are left out: 100, 102",
    )
    with pytest.raises(
        InputError, match=r"21 keypoints, which need 63 numbers .* its 3 .* most have 51$"
    ):
        read(tmp_path, hands(51, 51, 48))


def test_coco_itself_needs_no_limbs_of_the_file(tmp_path: Path) -> None:
    contents = coco([{"keypoints": spread(17)}])
    contents["categories"][0].update(keypoints=list(COCO.joints), skeleton=[[16, 14], [7, 99]])
    people = read(tmp_path, contents)
    assert people.skeleton == COCO
    assert people.notes == ("1 limb that does not join two joints is ignored: [7, 99]",)


@pytest.mark.parametrize("absent", [True, False])
def test_annotations_without_a_category_are_of_the_only_one(tmp_path: Path, absent: bool) -> None:
    kinds = (1, None, None, 2, {})
    contents = coco([{"keypoints": good(i), "category_id": kind} for i, kind in enumerate(kinds)])
    del contents["categories"][1:]
    if absent:
        for annotation in contents["annotations"][1:3]:
            del annotation["category_id"]
    people = read(tmp_path, contents)
    assert people.ids is not None and people.ids[:, 1].tolist() == [100, 101, 102]
    assert people.notes == (
        "2 annotations without a category_id are taken to be of the only category: 101, 102",
        "2 annotations of a category that is not listed are left out: 103, 104",
    )
    del contents["annotations"][0]
    assert len(read(tmp_path, contents)) == 2
