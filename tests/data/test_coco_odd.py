"""Faulty annotations and images in files of COCO's form are left out alone and reported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_coco import GOOD, good, read
from official import coco, write_coco

from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import EmptySplit


def test_a_missing_box_is_made_from_the_joints(tmp_path: Path) -> None:
    keypoints = [10, 20, 2, 50, 40, 1, 99, 99, 0]
    boxes = (None, [], [3, 3, 0, 0], [3, 13, 9, 9])
    contents = coco(
        [{"keypoints": keypoints, "bbox": box, "image_id": 10 + i} for i, box in enumerate(boxes)],
        images=5,
    )
    contents["annotations"].append({"id": 7, "image_id": 14, "category_id": 1, "iscrowd": 0,
                                    "keypoints": keypoints})  # fmt: skip
    write_coco(tmp_path / "annotations" / "dolls.json", contents)
    people = read(tmp_path, contents)
    assert people.centers[[0, 1, 2, 4]].tolist() == [[30, 30]] * 4  # the unlabelled joint aside
    assert people.sizes.tolist() == [1.25 * 41] * 3 + [1.25 * 9, 1.25 * 41]
    assert people.notes == (
        "4 annotations have no bbox; it is computed from their joints: 100, 101, 102, 7",
    )
    contents["annotations"] = [{**contents["annotations"][0], "keypoints": [5, 5, 2] + [0] * 6}]
    with pytest.raises(
        EmptySplit, match="1 annotation without a bbox, .* is not among the samples: 100"
    ):
        read(tmp_path, contents)


@pytest.mark.parametrize("flag", ["0", 0.0, "false", ""])
def test_flags_that_say_that_it_is_no_crowd(flag: Any, tmp_path: Path) -> None:
    people = read(tmp_path, coco([{"keypoints": GOOD, "iscrowd": flag}]))
    assert len(people) == 1 and people.notes == ()


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
        ({"keypoints": [1, 2, True] * 3}, NUMBERS),
        ({"keypoints": "1,2,2"}, NUMBERS),
        ({"keypoints": {"nose": [1, 2]}}, NUMBERS),
        ({"keypoints": {}}, NUMBERS),
        ({"keypoints": False}, NUMBERS),
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


@pytest.mark.parametrize(
    ("apart", "kind"),
    [
        ({"keypoints": None}, "without keypoints"),
        ({"keypoints": []}, "without keypoints"),
        ({"keypoints": [0] * 9}, "without a labelled joint"),
        ({"iscrowd": 1}, "of crowds"),
        ({"iscrowd": "1"}, "of crowds"),
        (
            {"bbox": None, "keypoints": [5, 5, 2] * 3},
            "without a bbox, whose joints are in one place,",
        ),
    ],
)
def test_annotations_of_nobody_to_crop_are_told(
    tmp_path: Path, apart: dict[str, Any], kind: str
) -> None:
    """They are not said to be left out, since AP goes by them."""
    apart = {"keypoints": GOOD, **apart}
    people = read(tmp_path, coco([apart, {"keypoints": GOOD}, apart]))
    assert people.ids is not None and people.ids.tolist() == [[10, 101]]
    assert people.notes == (f"2 annotations {kind} are not among the samples: 100, 102",)


def test_null_anywhere_costs_its_own_entry(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD, "area": None, "iscrowd": None}, {"keypoints": None}])
    contents["annotations"] += [None, {"id": None}]
    contents["images"] += [None, {"id": None, "file_name": "a.jpg"}, {"id": 5, "file_name": None}]
    contents["images"][0].update(width=None, height=None)
    contents["categories"] += [None, {"id": None, "keypoints": ["tail"]}]
    people = read(tmp_path, contents)
    assert len(people) == 1 and people.areas is not None and np.isnan(people.areas).all()
    assert people.notes == (
        "3 images without an id or a file_name are skipped: number 3, number 4, 5",
        "2 categories without an id are skipped: number 3, number 4",
        "1 annotation without keypoints is not among the samples: 101",
        "1 annotation that is not an object is left out: number 3",
        "1 annotation of a category that is not listed is left out: number 4",
    )


def test_an_id_of_several_annotations_is_told(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        coco([{"keypoints": good(n), "id": i} for n, i in enumerate((7, 8, "7", 7, None, None))]),
    )
    assert len(people) == 6 and people.notes == (
        "1 annotation id belongs to several annotations, so that predictions cannot be matched by it: 7",
    )


@pytest.mark.parametrize("flag", [7, -1, 0.5])
def test_other_flags_than_coco_s_are_told(tmp_path: Path, flag: float) -> None:
    people = read(tmp_path, coco([{"keypoints": [5, 6, flag, *GOOD[3:]]}, {"keypoints": GOOD}]))
    assert people.labelled[0].tolist() == [flag > 0, True, False]
    assert people.notes == (
        "1 annotation has flags other than 0, 1 and 2; those above 0 are read as labelled: 100",
    )


@pytest.mark.parametrize("width", [10**400, 0, -5, "120", None, True, 1e9])
def test_a_size_that_is_none_is_told(tmp_path: Path, width: Any) -> None:
    contents = coco([{"keypoints": GOOD}])
    contents["images"][0].update(width=width, height=90)
    people = read(tmp_path, contents)
    assert people.notes == (
        "1 image whose width and height are not 2 numbers above 0 is read without a size: 10",
    )


def test_two_ids_of_one_file_are_told(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD}, {"keypoints": good(1), "image_id": 12}])
    contents["images"].append({**contents["images"][0], "id": 12})
    people = read(tmp_path, contents)
    assert len(people) == 2 and len(set(people.image_paths)) == 1
    assert people.notes == (
        "1 file with several image ids is read as one picture: 000000000000.jpg",
    )


def test_ids_are_compared_as_text(tmp_path: Path) -> None:
    contents = coco([{"keypoints": good(1), "image_id": "10", "category_id": "1", "id": "a"},
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


@pytest.mark.parametrize("field", ["keypoints", "bbox", "image_id", "category_id", "area"])
def test_an_integer_that_python_does_not_read_costs_its_annotation(
    tmp_path: Path, field: str
) -> None:
    """It reads none of more than 4300 digits."""
    whole = json.dumps(coco([{"keypoints": GOOD}, {"keypoints": good(1), field: "LONG"}]))
    path = write_coco(tmp_path / "annotations" / "dolls.json", coco([]))
    path.write_text(whole.replace('"LONG"', "1" * 5000))
    people = read_coco(path)
    assert people.ids is not None
    if field == "area":
        assert people.areas is not None and np.isnan(people.areas[1]) and people.notes == ()
    else:
        assert people.ids[:, 1].tolist() == [100]
        assert len(people.notes) == 1 and people.notes[0].endswith("is left out: 101")


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


def test_two_pictures_of_one_id(tmp_path: Path) -> None:
    contents = coco([{"keypoints": GOOD}, {"keypoints": GOOD, "image_id": 11}])
    contents["images"].append(dict(contents["images"][0]))  # the same picture twice
    people = read(tmp_path, contents)
    assert len(people) == 2 and people.notes == ()
    contents["images"] += [{"id": 10, "file_name": "other.jpg"}, {"id": "10", "file_name": "b.jpg"}]
    people = read(tmp_path, contents)
    assert people.ids is not None and people.ids.tolist() == [[11, 101]]
    assert people.notes == (
        "1 image id belongs to two pictures: 10",
        "1 annotation of an image id that belongs to two pictures is left out: 100",
    )


def test_joints_that_are_annotated_twice_are_told(tmp_path: Path) -> None:
    contents = coco(
        [
            {"keypoints": GOOD},
            {"keypoints": GOOD, "image_id": 11},
            {"keypoints": good(1)},
            {"keypoints": GOOD, "id": 100},  # told as an id of several annotations
            {"keypoints": [*GOOD[:6], -3, 4, 0], "bbox": None},  # a joint that is not labelled
            {"keypoints": GOOD, "iscrowd": 1},
        ]
    )
    people = read(tmp_path, contents)
    assert len(people) == 5
    told = "annotation has the same joints as another annotation of the picture: 104"
    assert f"1 {told}" in people.notes
    contents["annotations"] = [{"keypoints": GOOD, "image_id": 10, "category_id": 1}] * 3
    people = read(tmp_path, contents)
    assert len(people) == 3
    assert people.notes[1:] == (
        "2 annotations have the same joints as another annotation of the picture: number 2, number 3",
    )
