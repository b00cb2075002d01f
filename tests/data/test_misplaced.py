"""Joints at impossible places are reported, and their people are still used."""

import json
from pathlib import Path
from typing import Any

import pytest
from odd_coco import GOOD, good, read
from official import coco, picture
from yolo_files import LINE, label, ultralytics

from softgate_ext.data.mpii_json import read_mpii_json
from softgate_ext.data.yolo import read_yolo


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        ({"bbox": [50, 50, 60, 30]}, "outside of its box"),
        ({"keypoints": [500, 400, 2, 510, 420, 2, 0, 0, 0]}, "outside of the picture"),
        ({"keypoints": [-50, 40, 2, 60, -9, 2, 50, 50, 0]}, "outside of the picture"),
        ({"keypoints": [0.1, 0.2, 2, 0.9, 0.8, 2, 0, 0, 0]}, "in one pixel"),  # as shares
        ({"keypoints": [0, 0, 2, 0, 0, 2, 0, 0, 2]}, "in one pixel"),
        ({"bbox": [50, 50, 60, 30], "keypoints": [7, 7, 2] * 3}, "in one pixel"),
    ],
)
def test_joints_that_contradict_box_or_picture_are_told(
    tmp_path: Path, odd: dict[str, Any], kind: str
) -> None:
    people = read(tmp_path, coco([{"keypoints": good(1)}, {"keypoints": GOOD, **odd}]))
    assert len(people) == 2
    assert people.notes == (f"1 annotation has all joints {kind}: 101",)


@pytest.mark.parametrize(
    "usual",
    [
        {"keypoints": [5, 6, 2, 0, 0, 0, 0, 0, 0]},  # one joint is in one pixel
        {"keypoints": [5, 6, 2, 500, 500, 2, 0, 0, 0]},
        {"bbox": [6, 7, 50, 50], "keypoints": [5, 6, 2, 0, 0, 0, 0, 0, 0]},  # beside by rounding
        {"bbox": None},
        {"iscrowd": 1, "keypoints": [500, 500, 2] * 3},
    ],
)
def test_what_may_be_right_is_not_told(tmp_path: Path, usual: dict[str, Any]) -> None:
    people = read(tmp_path, coco([{"keypoints": GOOD}, {"keypoints": GOOD, **usual}]))
    assert "all joints" not in " ".join(people.notes)


def test_a_picture_of_no_stated_size_is_no_measure(tmp_path: Path) -> None:
    contents = coco(
        [{"keypoints": [500, 400, 2, 510, 420, 2, 0, 0, 0], "bbox": [490, 390, 40, 60]}]
    )
    del contents["images"][0]["width"], contents["images"][0]["height"]
    assert read(tmp_path, contents).notes == ()


def test_an_annotation_without_an_id_is_told_by_its_place(tmp_path: Path) -> None:
    people = read(tmp_path, coco([{"keypoints": GOOD, "bbox": [50, 50, 60, 30], "id": None}]))
    assert people.notes == ("1 annotation has all joints outside of its box: number 1",)


def test_the_same_of_a_line_of_yolo_s(tmp_path: Path) -> None:
    file = ultralytics(tmp_path)
    beside = "0 0.9 0.9 0.1 0.1 0.25 0.1 2 0.75 0.5 1 0 0 0"
    together = "0 0.5 0.5 0.1 0.1" + " 0.5 0.5 2" * 3
    label(tmp_path, "train", lines="\n".join((LINE, beside, together)))
    people = read_yolo(file)
    assert len(people) == 3 and people.notes == (
        "1 line has all joints outside of its box: 1.txt:2",
        "1 line has all joints in one pixel: 1.txt:3",
    )


def test_the_same_of_mpii_s_people(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.jpg")
    one = {"joints": [[0.1, 0.2]] * 16, "joints_vis": [1] * 16, "center": [31.0, 41.0],
           "scale": 0.4, "image": "1.jpg"}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([one]))
    assert read_mpii_json(tmp_path / "a.json").notes == (
        "1 person has all joints in one pixel: number 1",
    )
