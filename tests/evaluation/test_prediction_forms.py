"""Prediction files in the forms in which programs write them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dolls import BOXES, FOUND, PICTURES, SHUFFLE, kept, refused, save
from official import coco

from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.joint_files import read_predictions
from softgate_ext.prediction.frame_files import frame_files
from softgate_ext.prediction.person import Person
from softgate_ext.prediction.summary import Summary
from softgate_ext.prediction.video import Frame

NAMES = [f"{number - 10:012d}.jpg" for number in PICTURES]
JOINTS = ("nose", "left_hand", "right_hand")


def annotations(**changes: Any) -> dict[str, Any]:
    """COCO's whole object with ids of its own, its people shuffled."""
    own = [
        {"id": 7 + row, "image_id": PICTURES[i] + 990, "bbox": BOXES[i], "category_id": 5,
         "keypoints": np.hstack([FOUND[i], np.full((3, 1), 2)]).ravel().tolist(), **changes}
        for row, i in enumerate(SHUFFLE)
    ]  # fmt: skip
    whole = coco(own, 3)
    for image in whole["images"]:
        image["id"] += 990
    whole["categories"] = [
        {"id": 5, "name": "doll", "keypoints": list(JOINTS)},
        {"id": 1, "name": "chair", "keypoints": ["seat"]},
    ]
    return whole


def test_a_whole_object_of_coco(dolls: Path, doll_set: PoseSet, tmp_path: Path) -> None:
    """Pictures go by name and categories too, since the ids are the file's own."""
    notes = kept(save(tmp_path / "a.json", annotations()), doll_set, *range(5))
    assert notes[1:] == (
        "4 people in pictures with several were told apart by the overlap of their boxes",
    )
    scored = read_predictions(save(tmp_path / "a.json", annotations(score=0.25)), doll_set)
    assert (scored.scores == 0.25).all()
    own = read_predictions(dolls, doll_set)  # by the ids of the dataset
    np.testing.assert_array_equal(own.joints, doll_set.joints)
    assert (own.scores == 1).all()  # flags are no scores


def test_odd_parts_of_a_whole_object_cost_themselves(doll_set: PoseSet, tmp_path: Path) -> None:
    whole = annotations()
    whole["annotations"][0]["category_id"] = 1
    whole["annotations"][1]["image_id"] = 77
    whole["annotations"][2]["keypoints"] = [0, 0, 0] * 3
    whole["images"] += [None]
    whole["annotations"] += [None, {"id": 70, "image_id": 1000, "iscrowd": 1}]
    notes = kept(save(tmp_path / "a.json", whole), doll_set, *SHUFFLE[3:])
    assert notes[1:5] == (
        "1 image without an id or a file_name is skipped: number 4",
        "1 entry of an image that is not listed is left out: 8",
        "1 entry of a category that the data do not have is left out: 7",
        "1 entry that is neither a list nor an object is left out: number 6",
    )
    assert "1 entry of a crowd is left out: 70" in notes


def test_joints_of_a_whole_object_go_by_its_names(doll_set: PoseSet, tmp_path: Path) -> None:
    whole = annotations()
    whole["categories"][0]["keypoints"] = ["Right_Hand", "nose", "left_hand"]
    for person in whole["annotations"]:
        person["keypoints"] = person["keypoints"][6:] + person["keypoints"][:6]
    kept(save(tmp_path / "a.json", whole), doll_set, *range(5))


def instance(i: int) -> dict[str, Any]:
    """As mmpose's `split_instances` has it: a box of corners, in a list of its own."""
    x, y, w, h = BOXES[i]
    return {"keypoints": FOUND[i].tolist(), "keypoint_scores": [0.5, 0.25, 1.0],
            "bbox": [[x, y, x + w, y + h]], "bbox_score": 0.9}  # fmt: skip


def frames(first: int) -> list[dict[str, Any]]:
    groups = {number: [i for i in SHUFFLE if PICTURES[i] == number] for number in (12, 10, 11)}
    return [
        {"frame_id": number - 10 + first, "instances": [instance(i) for i in group]}
        for number, group in groups.items()
    ]


def test_frames_of_mmpose(doll_set: PoseSet, tmp_path: Path) -> None:
    names = {str(place): name for place, name in enumerate(JOINTS)}
    whole = {"meta_info": {"keypoint_id2name": names}, "instance_info": frames(0)}
    for content in (whole, {"instance_info": frames(0)}, frames(0)):
        path = save(tmp_path / "walk.json", content)
        notes = kept(path, doll_set, *range(5))
        assert notes[1] == (
            "frames are matched by the last numbers in the names of pictures: frame 0 is 000000000000.jpg"
        )
        assert read_predictions(path, doll_set).scores.tolist() == [[0.5, 0.25, 1.0]] * 5
    unnumbered = [
        image.with_name("abc"[PICTURES[i] - 10]) for i, image in enumerate(doll_set.image_paths)
    ]
    notes = kept(
        save(tmp_path / "walk.json", frames(10)),
        replace(doll_set, image_paths=unnumbered),
        *range(5),
    )
    assert notes[1] == "frames are matched by the ids of pictures: frame 10 is a"
    odd = [*frames(0), {"frame_id": "x", "instances": [instance(0)]}, {"instances": 3}]
    assert kept(save(tmp_path / "walk.json", odd), doll_set, *range(5))[1:3] == (
        "1 picture whose instances are not a list is left out: number 5",
        "1 entry whose frame is not a number is left out: x person 1",
    )


def test_mmpose_s_file_of_one_picture(doll_set: PoseSet, tmp_path: Path) -> None:
    """Only the name of the file tells which; files of other pictures are not read."""
    pair = [instance(1), instance(0)]
    for content in (pair, {"instance_info": pair}, [{"instances": pair}]):
        notes = kept(save(tmp_path / "000000000000.json", content), doll_set, 0, 1)
        assert (
            "the entries are taken to be of the picture 000000000000, because the file has"
            in notes[1]
        )
        assert "3 people of 5 are not in the file" in notes[-1]
        refused(save(tmp_path / "r.json", content), doll_set,
                "of one picture, so the file must have the name .*, but dolls_val-test has no picture r; takes")  # fmt: skip
    everybody = [instance(i) for i in range(5)]  # as many as people: still no order
    refused(
        save(tmp_path / "r.json", everybody), doll_set, "has no picture r; takes one file of all"
    )


def test_joints_by_the_name_of_the_picture(doll_set: PoseSet, tmp_path: Path) -> None:
    lone = doll_set.subset([0, 2, 4])
    flat = {NAMES[i]: np.hstack([FOUND[i], np.ones((3, 1))]).ravel().tolist() for i in (4, 0, 2)}
    pairs = {NAMES[i]: FOUND[i].tolist() for i in (2, 4, 0)}
    named = {NAMES[i]: dict(zip(JOINTS, FOUND[i].tolist(), strict=True)) for i in (2, 4, 0)}
    for content in (flat, pairs, named, {**pairs, "joint_names": list(JOINTS)}):
        found = read_predictions(save(tmp_path / "a.json", content), lone)
        np.testing.assert_array_equal(found.joints, FOUND[[0, 2, 4]])
    crowds: dict[str, Any] = {}
    for i in SHUFFLE:
        crowds.setdefault(NAMES[i], []).append({"keypoints": FOUND[i].tolist(), "bbox": BOXES[i]})
    kept(save(tmp_path / "a.json", crowds), doll_set, *range(5))
    lists = {name: [one["keypoints"] for one in crowd] for name, crowd in crowds.items()}
    kept(save(tmp_path / "a.json", lists), doll_set, *range(5))
    wrapped = {name: {"people": crowd} for name, crowd in crowds.items()}
    kept(save(tmp_path / "a.json", wrapped), doll_set, *range(5))
    crowds[NAMES[4]] = 3
    notes = kept(save(tmp_path / "a.json", crowds), doll_set, 0, 1, 2, 3)
    assert notes[1] == f"1 entry that is neither a list nor an object is left out: {NAMES[4]}"


@pytest.mark.parametrize("key", ["predictions", "annotations", "keypoints", "poses", "Persons"])
def test_people_below_their_picture(key: str, doll_set: PoseSet, tmp_path: Path) -> None:
    """Under any key; nobody is below a picture where nobody was found."""
    pictures = [
        {
            "image_id": number,
            key: [
                {"keypoints": FOUND[i].tolist(), "bbox": BOXES[i], "score": 0.5}
                for i in SHUFFLE
                if PICTURES[i] == number
            ],
        }
        for number in (12, 10, 77, 11)
    ]
    path = save(tmp_path / "a.json", pictures)
    assert not any("left out" in note for note in kept(path, doll_set, *range(5)))
    assert (read_predictions(path, doll_set).scores == 0.5).all()
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, pictures)))
    kept(path.with_suffix(".jsonl"), doll_set, *range(5))


def test_a_person_with_people_of_other_times(doll_set: PoseSet, tmp_path: Path) -> None:
    given = [
        {"image_id": PICTURES[i], "bbox": BOXES[i], "keypoints": FOUND[i].tolist(),
         "before": [{"keypoints": FOUND[i - 1].tolist()}]}
        for i in SHUFFLE
    ]  # fmt: skip
    kept(save(tmp_path / "a.json", given), doll_set, *range(5))


def test_people_by_the_id_of_the_picture(doll_set: PoseSet, tmp_path: Path) -> None:
    """Where no key is the name of a file; else a number is one of these."""
    people = {
        str(number): [FOUND[i].tolist() for i in range(5) if PICTURES[i] == number]
        for number in (12, 10, 11, 77)
    }
    path = save(tmp_path / "a.json", people)
    assert not any("left out" in note for note in kept(path, doll_set, *range(5)))
    numbered = [
        image.with_name(f"{number}.jpg")
        for number, image in zip((11, 11, 10, 10, 7), doll_set.image_paths, strict=True)
    ]
    found = read_predictions(path, replace(doll_set, image_paths=numbered))
    np.testing.assert_array_equal(found.joints[:4], FOUND[[2, 3, 0, 1]])
    assert np.isnan(found.joints[4]).all()  # 7.jpg, whose id 12 is


def person(i: int) -> Person:
    x, y, w, h = BOXES[i]
    return Person((x, y, w, h), FOUND[i], np.float32([0.5, 0.25, 1]), JOINTS)


def predicted(folder: Path, video: bool = False) -> Path:
    """predictions.json and .csv, written by what `softgate predict` writes them with."""
    summary = Summary(folder, ("json", "csv"), print)
    for number in (12, 10, 11):
        found = [person(i) for i in SHUFFLE if PICTURES[i] == number]
        name = f"photos/{number - 10:012d}.jpg"
        if video:
            summary.add("walk.mp4", found, number - 10, "0.1")
        else:
            summary.add(name, found)
        summary.entries["images"].append({"file": name, "people": [one.to_json() for one in found]})
    summary.write({"run": "runs/a", "skeleton": "doll"})
    return folder


@pytest.mark.parametrize("name", ["predictions.json", "predictions.csv"])
def test_what_predict_writes_of_pictures(name: str, doll_set: PoseSet, tmp_path: Path) -> None:
    path = predicted(tmp_path / "out") / name
    kept(path, doll_set, *range(5))
    assert read_predictions(path, doll_set).scores.tolist() == [[0.5, 0.25, 1.0]] * 5


def test_what_predict_writes_of_a_video(doll_set: PoseSet, tmp_path: Path) -> None:
    said = "frames are matched by the last numbers in the names of pictures: frame 0 is 000000000000.jpg"
    path = predicted(tmp_path / "out", True) / "predictions.csv"
    assert kept(path, doll_set, *range(5))[1] == said
    other = path.read_text().splitlines()[1].replace("walk.mp4", "run.mp4")
    path.write_text(path.read_text() + other + "\n")
    refused(
        path, doll_set, "has frames of 2 videos, such as run.mp4 and walk.mp4; takes those of one"
    )
    target = tmp_path / "walk.mp4"
    with frame_files(target, ("json",), 25.0, 90, 120, lambda shown, found: shown) as files:
        for number in range(3):
            shown = Frame(np.zeros((90, 120, 3), np.uint8), number / 25)
            files.write(number, shown, [person(i) for i in SHUFFLE if PICTURES[i] == 10 + number])
    lines = target.with_suffix(".jsonl")
    assert kept(lines, doll_set, *range(5))[1] == said
    lines.write_text(lines.read_text() + '{"frame": 3, "peo')
    assert (
        kept(lines, doll_set, *range(5))[1] == "1 line that is not valid JSON is left out: line 4"
    )


def test_odd_rows_of_a_table_cost_themselves(doll_set: PoseSet, tmp_path: Path) -> None:
    path = predicted(tmp_path / "out") / "predictions.csv"
    lines = path.read_text().splitlines()
    fields = lines[1].split(",")
    fields[lines[0].split(",").index("joint_x")] = "left"
    path.write_text("\n".join([lines[0], ",".join(fields), *lines[2:], "photos/a.jpg,,"]))
    notes = kept(path, doll_set, 0, 1, 2, 3)
    assert notes[1:3] == (
        "1 line that lacks columns is left out: line 17",
        "1 entry with joints that are not finite numbers is left out: "
        "photos/000000000002.jpg person 0",
    )
    path.write_text("name,x\n1,2\n")
    refused(
        path, doll_set, "has no column file, frame, .*; takes predictions.csv as softgate predict"
    )
    path.write_bytes(b"\xff\xfe\x00")
    refused(path, doll_set, "cannot read .*predictions.csv .*; give a file in UTF-8")


def test_one_odd_person_of_predict_s_json(doll_set: PoseSet, tmp_path: Path) -> None:
    path = predicted(tmp_path / "out") / "predictions.json"
    whole = json.loads(path.read_text())
    whole["images"][0]["people"][0]["joints"]["nose"]["x"] = "left"
    whole["images"] += [{"file": "b.jpg", "people": None}, None]
    notes = kept(save(path, whole), doll_set, 0, 1, 2, 3)
    assert notes[1:4] == (
        "1 picture whose people are not a list is left out: b.jpg",
        "1 entry with joints that are not finite numbers is left out: "
        "photos/000000000002.jpg person 1",
        "1 entry that is neither a list nor an object is left out: number 5",
    )
