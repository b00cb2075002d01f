"""Joints with names or numbers, in the shapes in which programs write them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dolls import BOXES, FOUND, PICTURES, SHUFFLE, kept, refused, results, save

from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.joint_files import read_predictions

NAMED = ("nose", "left_hand", "right_hand")
ORDER = (2, 0, 1)  # of the joints in the file


@pytest.mark.parametrize("key", ["name", "part", "joint", "keypoint", "label", "id", "index"])
@pytest.mark.parametrize("form", ["x, y", "position", "capitals", "numbers"])
def test_joints_that_say_which_they_are_go_by_that(
    key: str, form: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    """As MoveNet's, BlazePose's and PoseNet's, in another order than the dataset's."""

    def joint(i: int, j: int) -> dict[str, Any]:
        x, y = FOUND[i, j].tolist()
        title = j + 1 if form == "numbers" else NAMED[j]
        place = {"position": {"position": {"x": x, "y": y}}, "capitals": {"X": x, "Y": y}}
        return {key: title, **place.get(form, {"x": x, "y": y}), "confidence": 0.5}

    entries = results(keypoints=lambda i: [joint(i, j) for j in ORDER], bbox=BOXES.__getitem__)
    for entry in entries:
        del entry["score"]
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    np.testing.assert_array_equal(found.scores, np.full((5, 3), 0.5))


SPELLINGS = (NAMED, ("Nose", "Left Hand", "Right Hand"), ("nose", "leftHand", "handR"))


@pytest.mark.parametrize("key", ["joint_names", "keypointNames", "names", "labels", "classes"])
@pytest.mark.parametrize("spelled", SPELLINGS, ids=str)
@pytest.mark.parametrize("flat", [False, True])
def test_names_of_joints_beside_them(
    key: str, spelled: tuple[str, ...], flat: bool, doll_set: PoseSet, tmp_path: Path
) -> None:
    """Under any key, if they are exactly the dataset's."""
    names = [spelled[j] for j in ORDER]

    def given(i: int) -> Any:
        rows = np.hstack([FOUND[i, list(ORDER)], np.full((3, 1), 0.5)])
        return rows.ravel().tolist() if flat else rows.tolist()

    entries = results(keypoints=given, bbox=BOXES.__getitem__)
    named = [{**entry, key: names} for entry in entries]
    for content in (named, {key: names, "predictions": entries}):
        found = read_predictions(save(tmp_path / "a.json", content), doll_set)
        np.testing.assert_array_equal(found.joints, FOUND)
    arrays = {"preds": FOUND[:, list(ORDER)], "bbox": BOXES, "image_ids": PICTURES, key: names}
    np.savez(tmp_path / "a.npz", **{name: np.asarray(value) for name, value in arrays.items()})
    np.testing.assert_array_equal(read_predictions(tmp_path / "a.npz", doll_set).joints, FOUND)


def test_joints_without_x_and_y_are_told(doll_set: PoseSet, tmp_path: Path) -> None:
    entries = results(keypoints=lambda i: [{"u": 1, "v": 2}] * 3 if i else FOUND[0].tolist())
    notes = kept(save(tmp_path / "a.json", entries), doll_set, 0)
    assert notes[1] == (
        "4 entries with joints that are not x, y or x, y, score are left out: number 2, number 3, "
        "number 4, number 5"
    )


def test_names_that_are_numbers_are_ids_where_the_dataset_has_none(
    doll_set: PoseSet, tmp_path: Path
) -> None:
    """As Ultralytics' predictions.json has them."""
    bare = replace(doll_set, ids=None)
    entries = results(image_id=lambda i: PICTURES[i] - 10, bbox=BOXES.__getitem__)
    path = save(tmp_path / "a.json", [entries[i] for i in SHUFFLE])
    np.testing.assert_array_equal(read_predictions(path, bare).joints, FOUND)


@pytest.mark.parametrize("key", ["area", "num_keypoints", "time_ms", "track_id", "index"])
def test_keys_of_nobody_do_not_keep_a_file_from_being_read_in_order(
    key: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    entries = [{"joints": FOUND[i].tolist(), key: i} for i in range(5)]
    found = read_predictions(save(tmp_path / "a.json", entries), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    entries = [{"joints": FOUND[i].tolist(), "sample": i + 7} for i in range(5)]
    refused(save(tmp_path / "a.json", entries), doll_set, "which may tell whose the joints are")
