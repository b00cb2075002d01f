"""Makes files in COCO's form with unusual or faulty entries."""

import json
from pathlib import Path
from typing import Any

from official import coco, picture, spread

from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import PoseSet

GOOD = [5, 6, 2, 7, 8, 1, 0, 0, 0]


def good(number: int) -> list[int]:
    """`GOOD` of somebody else, whose first joint lies elsewhere."""
    return [5 + number % 30, 6 + number // 30, *GOOD[2:]]


def read(tmp_path: Path, contents: dict[str, Any]) -> PoseSet:
    """The people of a file whose pictures are there."""
    path = tmp_path / "annotations" / "dolls.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(tmp_path / "images" / "000000000000.jpg")
    picture(tmp_path / "images" / "000000000001.jpg")
    path.write_text(json.dumps(contents), encoding="utf-8")
    return read_coco(path)


def two_categories(people: list[dict[str, Any]]) -> dict[str, Any]:
    contents = coco(people)
    contents["categories"][1]["keypoints"] = ["seat", "back"]
    return contents


def hands(*lengths: int) -> dict[str, Any]:
    contents = coco([{"keypoints": spread(length // 3)} for length in lengths])
    contents["categories"][0] = {"id": 1, "keypoints": [f"k{i}" for i in range(21)]}
    return contents


def sized(width: Any, height: Any) -> dict[str, Any]:
    contents = coco([{"keypoints": GOOD}, {"keypoints": GOOD, "image_id": 11}])
    contents["images"][0].update(width=width, height=height)
    return contents
