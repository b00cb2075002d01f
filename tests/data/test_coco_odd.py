"""Files in COCO's form as tools write them: what is odd costs itself, and is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import KEYPOINTS, coco, picture, write_coco
from PIL import Image

from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.draw import draw_pose
from softgate_ext.pose.skeleton import COCO

GOOD = [5, 6, 2, 7, 8, 1, 0, 0, 0]


def read(tmp_path: Path, contents: dict[str, Any]) -> PoseSet:
    """The people of a file whose pictures are there."""
    path = tmp_path / "annotations" / "dolls.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(tmp_path / "images" / "000000000000.jpg")
    picture(tmp_path / "images" / "000000000001.jpg")
    path.write_text(json.dumps(contents), encoding="utf-8")
    return read_coco(path)


@pytest.mark.parametrize(
    ("given", "limbs", "notes"),
    [
        ([[1, 2], [1, 3]], ((0, 1), (0, 2)), ()),
        # CrowdPose and converters keep the limbs of another scheme.
        ([[1, 2], [3, 17], [16, 14]], ((0, 1),), ("2 limbs that lead nowhere are dropped: "
         "[3, 17], [16, 14]",)),
        ([[0, 1], [0, 2]], ((0, 1), (0, 2)),
         ("the limbs count joints from 0 in place of 1, and are read so",)),
        # With a 3 in it, which joint 0 to 2 do not reach, it counts from 1.
        ([[0, 1], [1, 3]], ((0, 2),), ("1 limb that leads nowhere is dropped: [0, 1]",)),
        ([[2, 2], [1], None, ["nose", "tail"], [1, None], [-1, 2], [1.5, 2], [2, 3]], ((1, 2),),
         ("7 limbs that lead nowhere are dropped: [2, 2], [1], None, ['nose', 'tail'], [1, None] "
          "and 2 more",)),
        ([["nose", "Left_Hand"], ["right_hand", "nose"]], ((0, 1), (2, 0)), ()),
        ([["nose", "nose"], ["nose", 2], ["nose", "left_hand", "nose"], [1, 3]], ((0, 2),),
         ("3 limbs that lead nowhere are dropped: ['nose', 'nose'], ['nose', 2], "
          "['nose', 'left_hand', 'nose']",)),
        (None, (), ()),
        ("none", (), ()),
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
    contents = coco([{"keypoints": GOOD, "category_id": 1 + i % 54} for i in range(60)])
    contents["categories"] = [
        {"id": 1 + i, "name": f"animal {i}", "supercategory": "Animal", "keypoints": KEYPOINTS,
         "skeleton": [[1, 2]]}
        for i in range(54)
    ]  # fmt: skip
    people = read(tmp_path, contents)
    assert len(people) == 60
    assert people.skeleton.name == "animal" and people.skeleton.limbs == ((0, 1),)
    assert people.notes == ("54 categories of equal keypoints are read as one set",)


def two_categories(people: list[dict[str, Any]]) -> dict[str, Any]:
    contents = coco(people)
    contents["categories"][1]["keypoints"] = ["seat", "back"]
    return contents


def test_of_categories_with_other_keypoints_the_annotated_one_is_read(tmp_path: Path) -> None:
    people = read(tmp_path, two_categories([{"keypoints": [1, 2, 2, 5, 6, 2], "category_id": 2}]))
    assert people.skeleton.joints == ("seat", "back")
    assert people.notes == (
        "1 category with other keypoints and no annotations is passed over: Doll",
    )


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


def test_a_missing_box_is_made_from_the_joints(tmp_path: Path) -> None:
    keypoints = [10, 20, 2, 50, 40, 1, 99, 99, 0]
    contents = coco(
        [{"keypoints": keypoints, "bbox": box} for box in (None, [], [3, 3, 0, 0], [0, 0, 9, 9])]
    )
    contents["annotations"].append({"id": 7, "image_id": 10, "category_id": 1, "iscrowd": 0,
                                    "keypoints": keypoints})  # fmt: skip
    people = read(tmp_path, contents)
    assert people.centers[[0, 1, 2, 4]].tolist() == [[30, 30]] * 4  # the unlabelled joint aside
    assert people.sizes.tolist() == [1.25 * 41] * 3 + [1.25 * 9, 1.25 * 41]
    assert people.notes == (
        "4 annotations have no bbox, which is made from their joints: 100, 101, 102, 7",
    )
    contents["annotations"] = [{**contents["annotations"][0], "keypoints": [5, 5, 2] + [0] * 6}]
    with pytest.raises(EmptySplit, match="1 annotation of crowds, .* or a box, is left out"):
        read(tmp_path, contents)


NUMBERS = "whose keypoints are not 9 finite numbers"


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        ({"keypoints": [1, 2]}, NUMBERS),
        ({"keypoints": [1, 2, 2] * 17}, NUMBERS),
        ({"keypoints": [1, 10**400, 2] * 3}, NUMBERS),
        ({"keypoints": [1.0, 10**400, 2] * 3}, NUMBERS),
        ({"keypoints": [1, 1e300, 2] * 3}, NUMBERS),
        ({"keypoints": [1, float("nan"), 2] * 3}, NUMBERS),
        ({"keypoints": [1, float("inf"), 2] * 3}, NUMBERS),
        ({"keypoints": ["1", "2", "2"] * 3}, NUMBERS),
        ({"keypoints": [1, None, 2] * 3}, NUMBERS),
        ({"keypoints": "1,2,2"}, NUMBERS),
        ({"keypoints": {"nose": [1, 2]}}, NUMBERS),
        ({"bbox": [1, 2, 3]}, "whose bbox is not 4 finite numbers"),
        ({"bbox": [1, 2, 3, None]}, "whose bbox is not 4 finite numbers"),
        ({"bbox": [1, 2, "3", 4]}, "whose bbox is not 4 finite numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, "whose bbox is not 4 finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "whose bbox is not 4 finite numbers"),
        ({"image_id": 99}, "of an image that is not listed"),
        ({"image_id": None}, "of an image that is not listed"),
        ({"image_id": [10]}, "of an image that is not listed"),
        ({"category_id": 99}, "of a category that is not listed"),
        ({"category_id": None}, "of a category that is not listed"),
        ({"category_id": {}}, "of a category that is not listed"),
    ],
)
def test_an_odd_annotation_costs_itself(tmp_path: Path, odd: dict[str, Any], kind: str) -> None:
    odd = {"keypoints": GOOD, **odd}
    people = read(tmp_path, coco([odd, {"keypoints": GOOD}, odd]))
    assert people.ids is not None and people.ids.tolist() == [[10, 101]]
    assert people.notes == (f"2 annotations {kind} are left out: 100, 102",)


def test_null_anywhere_costs_its_own_entry(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD, "area": None, "iscrowd": None}, {"keypoints": None}])
    contents["annotations"] += [None, {"id": None}]
    contents["images"] += [None, {"id": None, "file_name": "a.jpg"}, {"id": 5, "file_name": None}]
    contents["images"][0].update(width=None, height=None)
    contents["categories"] += [None, {"id": None, "keypoints": ["tail"]}]
    people = read(tmp_path, contents)
    assert len(people) == 1 and people.areas is not None and np.isnan(people.areas).all()
    assert people.notes == (
        "3 images without an id or a file_name are passed over: number 3, number 4, 5",
        "2 categories without an id are passed over: number 3, number 4",
        "1 annotation that is no object is left out: number 3",
        "1 annotation of a category that is not listed is left out: number 4",
        "1 annotation of crowds, or without a labelled joint or a box, is left out",
    )


def test_ids_are_compared_as_text(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD, "image_id": "10", "category_id": "1", "id": "a"},
                     {"keypoints": GOOD, "image_id": 11.0, "category_id": 1.0}])  # fmt: skip
    people = read(tmp_path, contents)
    assert people.ids is not None and people.ids.tolist() == [[10, "a"], [11, 101]]
    for image in contents["images"]:
        image["id"] = f"p{image['id']}"
    for annotation in contents["annotations"]:
        annotation["image_id"] = "p10"
    people = read(tmp_path, contents)
    assert people.ids is not None and people.ids.tolist() == [["p10", "a"], ["p10", 101]]
    assert people.notes == ()


def test_thousands_of_odd_ones_are_one_line(tmp_path: Path) -> None:
    odd = [{"keypoints": [1], "id": i} for i in range(3000)]
    people = read(tmp_path, coco([{"keypoints": GOOD}, *odd]))
    assert people.notes == (
        f"3000 annotations {NUMBERS} are left out: 0, 1, 2, 3, 4 and 2995 more",
    )


def test_an_id_cannot_break_the_line(tmp_path: Path) -> None:
    odd = {"keypoints": [1], "id": "a\n\ud800" + "b" * 99}
    (note,) = read(tmp_path, coco([{"keypoints": GOOD}, odd])).notes
    assert note.endswith("is left out: a??" + "b" * 37 + "...")


@pytest.mark.parametrize("names", [{}, {"keypoints": []}, {"keypoints": None}])
def test_joints_without_names_are_numbered(tmp_path: Path, names: dict[str, Any]) -> None:
    """300W: 68 points of a face."""
    contents = coco(
        [{"keypoints": [4, 5, 2] * 68}, {"keypoints": [4, 5, 2] * 68}, {"keypoints": [4, 5, 2]}]
    )
    contents["categories"] = [{"id": 1, "name": "face", "skeleton": [[1, 68]], **names}]
    people = read(tmp_path, contents)
    assert people.joints.shape == (2, 68, 2) and people.skeleton.limbs == ((0, 67),)
    assert people.skeleton.joints[::67] == ("joint_1", "joint_68")
    assert people.notes == (
        "no category names its keypoints, so that 68 joints are numbered",
        "1 annotation whose keypoints are not 204 finite numbers is left out: 102",
    )


def hands(*lengths: int) -> dict[str, Any]:
    contents = coco([{"keypoints": [4, 5, 2] * (length // 3)} for length in lengths])
    contents["categories"][0] = {"id": 1, "keypoints": [f"k{i}" for i in range(21)]}
    return contents


def test_51_numbers_for_21_names(tmp_path: Path) -> None:
    people = read(tmp_path, hands(51, 63, 51))
    assert len(people) == 1 and people.notes == (
        "2 annotations whose keypoints are not 63 finite numbers are left out: 100, 102",
    )
    with pytest.raises(
        InputError, match=r"21 keypoints, which takes 63 numbers .* all 3 .* mostly 51$"
    ):
        read(tmp_path, hands(51, 51, 48))


def test_two_pictures_of_one_id(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD}, {"keypoints": GOOD, "image_id": 11}])
    contents["images"].append(dict(contents["images"][0]))  # the same picture twice
    people = read(tmp_path, contents)
    assert len(people) == 2 and people.notes == ()
    contents["images"] += [{"id": 10, "file_name": "other.jpg"}, {"id": "10", "file_name": "b.jpg"}]
    people = read(tmp_path, contents)
    assert people.ids is not None and people.ids.tolist() == [[11, 101]]
    assert people.notes == (
        "1 image id stands for two pictures: 10",
        "1 annotation of an image id that stands for two pictures is left out: 100",
    )


def sized(width: Any, height: Any) -> dict[str, Any]:
    contents = coco([{"keypoints": GOOD}, {"keypoints": GOOD, "image_id": 11}])
    contents["images"][0].update(width=width, height=height)
    return contents


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ((240, 180), "stated as 240 x 180: resized or cut after labelling"),
        ((90, 120), "stated as 90 x 120: turned after labelling"),
    ],
)
def test_people_in_pictures_of_another_size_are_left_out(
    tmp_path: Path, stated: tuple[int, int], why: str
) -> None:
    people = read(tmp_path, sized(*stated))
    assert people.ids is not None and people.ids.tolist() == [[11, 101]]
    (note,) = people.notes
    assert note.startswith("1 person is left out in 1 picture of another size than stated: ")
    assert note.endswith(
        f"000000000000.jpg is 120 x 90 and {why}, so that its joints lie elsewhere"
    )
    contents = sized(*stated)
    contents["images"][1].update(
        contents["images"][0] | {"id": 11, "file_name": "000000000001.jpg"}
    )
    with pytest.raises(EmptySplit, match="is empty .2 people are left out in 2 pictures"):
        read(tmp_path, contents)


@pytest.mark.parametrize(
    ("width", "height"),
    [(120, 90), (120.0, 90.0), (0, 0), (None, None), ("240", "180"), (-1, 10**400), (120, None)],
)
def test_a_size_that_states_nothing_contradicts_nothing(
    tmp_path: Path, width: Any, height: Any
) -> None:
    people = read(tmp_path, sized(width, height))
    assert len(people) == 2 and people.notes == ()


def test_a_picture_turned_by_exif_is_told(tmp_path: Path) -> None:
    contents = sized(120, 90)
    path = write_coco(tmp_path / "annotations" / "dolls.json", contents)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 90)).save(tmp_path / "images" / "000000000000.jpg", exif=exif)
    (note,) = read_coco(path).notes
    assert "is 90 x 120 and stated as 120 x 90: turned by its EXIF orientation" in note
    contents["images"][0].update(width=90, height=120)  # labelled upright
    path.write_text(json.dumps(contents))
    people = read_coco(path)
    assert people.notes == () and len(people) == 2


def test_coco_itself_needs_no_limbs_of_the_file(tmp_path: Path) -> None:
    contents = coco([{"keypoints": [4, 4, 2] * 17}])
    contents["categories"][0].update(keypoints=list(COCO.joints), skeleton=[[0, 99]])
    people = read(tmp_path, contents)
    assert people.skeleton == COCO and people.notes == ()
