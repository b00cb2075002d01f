"""Faulty entries of prediction files are left out alone and reported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dolls import BOXES, FOUND, IDS, kept, refused, results, save

from softgate_ext.data.poseset import PoseSet

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        ({"keypoints": None}, "without joints"),
        ({"keypoints": [1, 2]}, "with another number of joints than 3"),
        ({"keypoints": [[1, 2]] * 4}, "with another number of joints than 3"),
        ({"keypoints": "1,2"}, "whose joints are not a list"),
        ({"keypoints": {"nose": [1, 2]}}, "whose joints are not a list"),
        ({"keypoints": ["1", "2", "3"] * 3}, "with joints that are not finite numbers"),
        ({"keypoints": [[1, "2"]] * 3}, "with joints that are not finite numbers"),
        ({"keypoints": [[1, True]] * 3}, "with joints that are not finite numbers"),
        ({"keypoints": [1, float("inf"), 1] * 3}, "with joints that are not finite numbers"),
        ({"keypoints": [1, 10**400, 1] * 3}, "with joints that are not finite numbers"),
        ({"keypoints": [[1], [2], [3]]}, "with joints that are not x, y or x, y, score"),
        ({"image_id": True}, "whose image_id is not an id"),
        ({"image_id": 1.5}, "whose image_id is not an id"),
        ({"image_id": [10]}, "whose image_id is not an id"),
        ({"image_id": {"id": 10}}, "whose image_id is not an id"),
        ({"file_name": [1]}, "whose image_id is not an id"),
        ({"annotation_id": {}}, "whose annotation_id is not an id"),
        ({"image_id": None}, "without a picture or an id, which others have,"),
        ({"score": "high"}, "whose score is not a number"),
        ({"score": [0.1, 0.2]}, "whose scores are not 3 finite numbers"),
        ({"score": 10**400}, "whose score is not a number"),
        ({"bbox": [1, 2, "a", 4]}, "whose box is not 4 finite numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, "whose box is not 4 finite numbers"),
        ({"scores": [1, 2]}, "whose scores are not 3 finite numbers"),
        ({"category_id": 2}, "of a category that the data do not have"),
        ({"category_id": True}, "of a category that the data do not have"),
        ({"category_id": [1]}, "of a category that the data do not have"),
        ({"iscrowd": 1}, "of a crowd"),
        ({"iscrowd": "1"}, "of a crowd"),
    ],
)  # fmt: skip
def test_an_odd_result_costs_itself(
    odd: dict[str, Any], kind: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    given = results(bbox=BOXES.__getitem__)
    if odd == {"file_name": [1]}:
        del given[1]["image_id"]
    given[1].update(odd)
    notes = kept(save(tmp_path / "r.json", given), doll_set, 0, 2, 3, 4)
    assert notes[1] == f"1 entry {kind} is left out: number 2"


@pytest.mark.parametrize("flag", ["0", "0.0", 0.0, False, None, ""])
def test_an_entry_whose_flag_says_that_it_is_no_crowd(
    flag: Any, doll_set: PoseSet, tmp_path: Path
) -> None:
    given = results(bbox=BOXES.__getitem__, iscrowd=lambda i: flag)
    kept(save(tmp_path / "r.json", given), doll_set, *range(5))


def test_a_file_of_odd_entries_alone_is_refused(doll_set: PoseSet, tmp_path: Path) -> None:
    refused(
        save(tmp_path / "r.json", results(image_id=lambda i: True) + [None] * 7),
        doll_set,
        "r.json holds no entry that can be read .5 entries whose image_id is not an id are left out: "
        "number 1, number 2, number 3, number 4, number 5; 7 entries that are .* and 2 more.; takes",
    )
    path = save(tmp_path / "r.json", results(category_id=lambda i: 2))
    refused(
        path, doll_set, "5 entries of a category that the data do not have are left out: number 1, "
    )


@pytest.mark.parametrize("odd", [None, 3, "person", True])
def test_what_is_no_entry_costs_itself(odd: Any, doll_set: PoseSet, tmp_path: Path) -> None:
    given = [*results(bbox=BOXES.__getitem__), odd]
    notes = kept(save(tmp_path / "r.json", given), doll_set, *range(5))
    assert notes[1] == "1 entry that is neither a list nor an object is left out: number 6"


@pytest.mark.parametrize("field", ["keypoints", "image_id", "category_id", "score", "bbox"])
def test_an_integer_that_python_does_not_read_costs_its_entry(
    field: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    given = results(bbox=BOXES.__getitem__)
    given[1][field] = [*given[1][field][:-1], "LONG"] if field in ("keypoints", "bbox") else "LONG"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(given).replace('"LONG"', LONG))
    assert kept(path, doll_set, 0, 2, 3, 4)[1].endswith("is left out: number 2")


def test_ids_of_entries_are_told(doll_set: PoseSet, tmp_path: Path) -> None:
    given = results(id=IDS.__getitem__)
    given[1]["keypoints"] = given[3]["keypoints"] = None
    notes = kept(save(tmp_path / "r.json", given), doll_set, 0, 2, 4)
    assert notes[1] == "2 entries without joints are left out: 100, 102"


def test_an_odd_entry_keeps_its_place_where_order_counts(doll_set: PoseSet, tmp_path: Path) -> None:
    given: list[Any] = FOUND.tolist()
    given[1] = None
    notes = kept(save(tmp_path / "r.json", given), doll_set, 0, 2, 3, 4)
    assert notes[1:] == (
        "the file names no pictures; its entries are taken to be in the order of the dataset",
        "1 entry that is neither a list nor an object is left out: number 2",
    )


def test_an_odd_id_of_an_array_costs_its_row(doll_set: PoseSet, tmp_path: Path) -> None:
    given = {"preds": FOUND, "ids": [104.0, 0.5, 103.0, float("nan"), 101.0]}
    np.savez(tmp_path / "a.npz", **{name: np.asarray(value) for name, value in given.items()})
    assert kept(tmp_path / "a.npz", doll_set, 0, 2, 4)[1:3] == (
        "1 entry whose id is not an id is left out: number 2",
        "1 entry without a picture or an id, which others have, is left out: number 4",
    )
    given.update(preds=FOUND.tolist(), ids=[104, True, 103, None, 101])
    assert kept(save(tmp_path / "a.json", given), doll_set, 0, 2, 4)[1:3] == (
        "1 entry whose id is not an id is left out: number 2",
        "1 entry without a picture or an id, which others have, is left out: number 4",
    )
    given["ids"] = [104, 100]
    refused(
        save(tmp_path / "a.json", given), doll_set, "has 5 entries and 2 ids; these numbers must be"
    )


def test_a_file_without_entries(doll_set: PoseSet, tmp_path: Path) -> None:
    for content in ([], {}, {"annotations": []}, {"images": [{"file": "a", "people": []}]}):
        refused(
            save(tmp_path / "a.json", content), doll_set, "a.json holds no entries; takes a list"
        )
    (tmp_path / "a.jsonl").write_text("\n")
    refused(tmp_path / "a.jsonl", doll_set, "a.jsonl holds no entries; takes a list")
    videos = {"images": [], "videos": [{"file": "walk.mp4"}], "failed": []}
    refused(save(tmp_path / "a.json", videos), doll_set, "no people of pictures; takes the .jsonl")
