"""Folders as the tools write them: which file is which part, and where its pictures lie."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import coco, picture

from softgate_ext.cli import main
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.image_files import find_images
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.people import split_people

PERSON = {"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}


def annotate(path: Path, pictures: Path, names: Sequence[str], people: int = 1) -> None:
    """A file in COCO's form with a person in the first of these pictures, which it writes too."""
    contents = coco([PERSON] * people, images=len(names))
    for image, name in zip(contents["images"], names, strict=True):
        image["file_name"] = name
        picture(pictures / name.replace("\\", "/"), seed=len(str(pictures)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents), encoding="utf-8")


def mpii_people(path: Path, pictures: Path, name: str, people: int = 1) -> None:
    person = {
        "joints_vis": [1] * 16, "joints": [[10 + i, 20 + i] for i in range(16)],
        "image": name, "scale": 0.4, "center": [31.0, 41.0],
    }  # fmt: skip
    picture(pictures / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([person] * people), encoding="utf-8")


def coco_itself(root: Path) -> None:
    for part in ("train2017", "val2017"):
        annotate(root / f"annotations/person_keypoints_{part}.json", root / part, ["1.jpg"])


def hrnet(root: Path) -> None:
    for part in ("train2017", "val2017"):
        file = root / f"annotations/person_keypoints_{part}.json"
        annotate(file, root / "images" / part, ["1.jpg"])


def cvat(root: Path) -> None:
    for part in ("Train", "Validation"):
        file = root / f"annotations/person_keypoints_{part}.json"
        annotate(file, root / "images" / part, ["1.jpg"])


def cvat_of_one_subset(root: Path) -> None:
    file = root / "annotations/person_keypoints_my_frames.json"
    annotate(file, root / "images" / "my_frames", ["a/1.jpg", "b/1.jpg"])


def label_studio(root: Path) -> None:
    annotate(root / "result.json", root, ["images/1.jpg"])


def label_studio_of_windows(root: Path) -> None:
    annotate(root / "result.json", root, ["images\\1.jpg"])


def roboflow(root: Path) -> None:
    for part in ("train", "valid", "test"):
        annotate(root / part / "_annotations.coco.json", root / part, [f"{part}.jpg"])


def posetrack(root: Path) -> None:
    for part, videos in (("train", ("1_bonn_train", "2_mpii_test")), ("val", ("3_mpii_test",))):
        for video in videos:
            names = [f"images/{part}/{video}/{i:06d}.jpg" for i in range(2)]
            annotate(root / "annotations" / part / f"{video}.json", root, names)
    # Of the third video in val nobody is labelled.
    annotate(root / "annotations/val/4_mpii_test.json", root, ["images/val/4/0.jpg"], people=0)


def mmpose_mpii(root: Path) -> None:
    for part in ("train", "val", "trainval", "test"):
        people = {"train": 3, "val": 2, "trainval": 5, "test": 4}[part]
        mpii_people(root / f"annotations/mpii_{part}.json", root / "images", "1.jpg", people)


def hrnet_mpii(root: Path) -> None:
    for part, people in (("train", 3), ("valid", 2), ("trainval", 5), ("test", 4)):
        mpii_people(root / f"annot/{part}.json", root / "images", "1.jpg", people)


def trainval_and_test(root: Path) -> None:
    for part, people in (("trainval", 5), ("test", 4)):
        mpii_people(root / f"annotations/mpii_{part}.json", root / "images", "1.jpg", people)


def pictures_in_data(root: Path) -> None:
    annotate(root / "labels.json", root / "data", ["1.jpg"])


def flat_pictures_of_names_with_folders(root: Path) -> None:
    annotate(root / "people.json", root / "images", ["1.jpg"])
    contents = json.loads((root / "people.json").read_text())
    contents["images"][0]["file_name"] = "/home/else/upload/7/1.jpg"
    (root / "people.json").write_text(json.dumps(contents))


def names_of_another_case(root: Path) -> None:
    annotate(root / "annotations/train.json", root / "Images", ["Frames/1.JPG", "Frames/2.jpg"])
    contents = json.loads((root / "annotations/train.json").read_text())
    contents["images"][0]["file_name"] = "frames/1.jpg"
    (root / "annotations/train.json").write_text(json.dumps(contents))


Layout = tuple[Callable[[Path], None], int, int, str]
LAYOUTS: list[Layout] = [
    (coco_itself, 1, 1, "train2017/1.jpg"),
    (hrnet, 1, 1, "images/train2017/1.jpg"),
    (cvat, 1, 1, "images/Train/1.jpg"),
    (cvat_of_one_subset, 1, 0, "images/my_frames/a/1.jpg"),
    (label_studio, 1, 0, "images/1.jpg"),
    (label_studio_of_windows, 1, 0, "images/1.jpg"),
    (roboflow, 1, 1, "train/train.jpg"),
    (posetrack, 2, 1, "images/train/1_bonn_train/000000.jpg"),
    (mmpose_mpii, 3, 2, "images/1.jpg"),
    (hrnet_mpii, 3, 2, "images/1.jpg"),
    (trainval_and_test, 5, 4, "images/1.jpg"),
    (pictures_in_data, 1, 0, "data/1.jpg"),
    (flat_pictures_of_names_with_folders, 1, 0, "images/1.jpg"),
    (names_of_another_case, 1, 0, "Images/Frames/1.JPG"),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout[0].__name__)
def test_a_tools_folder_is_read_as_it_is(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, train, test, first = layout
    write(tmp_path / "set")
    source = recognise(tmp_path / "set")
    assert source.splits == (("train", "test") if test else ("train",))
    people = source.read("train")
    assert len(people) == train and people.image_paths[0] == tmp_path / "set" / first
    if test:
        assert len(source.read("test")) == test and len(source.read("all")) == train + test
    else:
        with pytest.raises(InputError, match="split 'test' of .* is empty"):
            source.read("test")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0


def test_of_three_parts_the_validation_is_measured_and_the_other_named(tmp_path: Path) -> None:
    roboflow(tmp_path)
    people = open_dataset(tmp_path, "test")
    assert [path.name for path in people.image_paths] == ["valid.jpg"]
    assert people.notes == ("test not read: --train-folder and --test-folder take other parts",)
    hrnet_mpii(tmp_path / "mpii")
    (note,) = open_dataset(tmp_path / "mpii", "train").notes
    assert note.startswith("test.json, trainval.json not read")


def test_a_part_in_its_folder_is_that_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roboflow(tmp_path)
    for part, split in (("train", "train"), ("valid", "test"), ("test", "test")):
        for path in (tmp_path / part, tmp_path / part / "_annotations.coco.json"):
            assert recognise(path).splits == (split,)
            assert [file.stem for file in open_dataset(path, split).image_paths] == [part]
    monkeypatch.chdir(tmp_path / "valid")
    assert recognise("_annotations.coco.json").splits == ("test",)


def test_parts_that_only_the_user_can_tell(tmp_path: Path) -> None:
    for name in ("first", "second"):
        annotate(tmp_path / f"{name}.json", tmp_path / "images", [f"{name}.jpg"])
    with pytest.raises(InputError, match="got first.json, second.json; .* by --train-folder and"):
        recognise(tmp_path)
    named = {"train_folder": Path("second.json"), "test_folder": tmp_path / "first.json"}
    source = recognise(tmp_path, **named)
    for split, name in (("train", "second"), ("test", "first")):
        assert [path.stem for path in source.read(split).image_paths] == [name]
    with pytest.raises(InputError, match="test_folder: got first.json, as train_folder did; takes"):
        recognise(tmp_path, "data", Path("first.json"), Path("first.json"))
    with pytest.raises(InputError, match="train_folder: got absent, which does not exist; takes"):
        recognise(tmp_path, "data", Path("absent"))


def test_one_named_part_leaves_the_other(tmp_path: Path) -> None:
    roboflow(tmp_path)
    source = recognise(tmp_path, test_folder=Path("test"))
    assert source.splits == ("train", "test")
    assert [path.stem for path in source.read("test").image_paths] == ["test"]
    assert [path.stem for path in source.read("train").image_paths] == ["train"]


def test_commands_take_named_parts_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    parts = ["--train-folder", "valid", "--test-folder", "test"]
    assert main(["data", "check", "set", "--json", "found.json", *parts]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: split["people"] for name, split in found["splits"].items()} == {
        "train": 1, "test": 1,
    }  # fmt: skip
    absent = ["--train-folder", "absent"]
    capsys.readouterr()
    for command in (
        ["data", "check", "set"], ["train", "set", "--out", "run"], ["evaluate", "run", "set"],
        ["data", "cache", "set", "--cache", "crops"],
    ):  # fmt: skip
        assert main([*command, *absent]) == 2
        assert "train_folder: got absent, which does not exist" in capsys.readouterr().err


def test_a_training_and_an_evaluation_are_about_the_named_parts(tmp_path: Path) -> None:
    for name, count in (("first", 5), ("second", 4)):
        mpii_people(tmp_path / "mpii" / f"{name}.json", tmp_path / "mpii", "1.jpg", count)
    parts = {"train_folder": Path("first.json"), "test_folder": Path("second.json")}
    train, watched = split_people(TrainConfig(tmp_path / "mpii", tmp_path / "run", **parts))
    assert (len(train), len(watched)) == (5, 4)
    predictions = tmp_path / "joints.npz"
    np.savez(predictions, preds=np.full((4, 16, 2), 20.0))
    for changes, people in (({}, 4), ({"split": "all"}, 9)):
        np.savez(predictions, preds=np.full((people, 16, 2), 20.0))
        found = evaluate(
            EvalConfig(data=tmp_path / "mpii", predictions=predictions, **parts, **changes)
        )
        assert found.people == people


def test_several_files_of_a_part_are_refused(tmp_path: Path) -> None:
    for name in ("ap10k-train-split1", "ap10k-train-split2", "ap10k-val-split1"):
        annotate(tmp_path / f"annotations/{name}.json", tmp_path / "data", ["1.jpg"])
    with pytest.raises(InputError, match="got ap10k-train-split1.json, ap10k-train-split2.json"):
        recognise(tmp_path)


def test_messages_name_the_places_that_were_looked_at(tmp_path: Path) -> None:
    cvat_of_one_subset(tmp_path / "set")
    (tmp_path / "set" / "images" / "my_frames").rename(tmp_path / "set" / "elsewhere")
    with pytest.raises(InputError) as error:
        open_dataset(tmp_path / "set")
    message = str(error.value)
    assert message.startswith("1 image of 1 is missing, first a/1.jpg; looked in images/frames, ")
    assert (
        "images/my_frames" in message and f"below {tmp_path / 'set' / 'annotations'}, " in message
    )
    people = open_dataset(tmp_path / "set", check_images=False)
    assert people.notes[0] == message.removesuffix("; softgate data check lists them")
    assert people.image_paths == [tmp_path / "set" / "a" / "1.jpg"]


def test_missing_pictures_of_a_video_are_named_as_its_file_has_them(tmp_path: Path) -> None:
    posetrack(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    first, *_ = open_dataset(tmp_path, check_images=False).image_paths
    assert first == tmp_path / "images" / "train" / "1_bonn_train" / "000000.jpg"


def test_one_missing_picture_is_named_with_its_folder(tmp_path: Path) -> None:
    contents = coco([PERSON, {**PERSON, "image_id": 11}])
    file = tmp_path / "annotations" / "people.json"
    annotate(file, tmp_path / "images", ["000000000000.jpg"])
    file.write_text(json.dumps(contents))
    where = tmp_path / "images"
    with pytest.raises(
        InputError, match=f"1 image of 2 is missing, first 000000000001.jpg in {where}"
    ):
        open_dataset(file)


def test_pictures_of_one_last_name_are_not_taken_for_one_another(tmp_path: Path) -> None:
    names = ["left/1.jpg", "right/1.jpg"]
    contents = coco([PERSON, {**PERSON, "image_id": 11}])
    for image, name in zip(contents["images"], names, strict=True):
        image["file_name"] = name
    (tmp_path / "people.json").write_text(json.dumps(contents))
    picture(tmp_path / "images" / "1.jpg")
    with pytest.raises(InputError, match="2 images of 2 are missing, first left/1.jpg"):
        open_dataset(tmp_path)


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{part}/{i}.jpg" for part in "ab" for i in range(50)]
    for name in names:
        file = tmp_path / "images" / name.upper()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    listed: list[Path] = []
    original = os.listdir

    def list_folder(folder: Path) -> list[str]:
        listed.append(Path(folder))
        return original(folder)

    monkeypatch.setattr("os.listdir", list_folder)
    monkeypatch.setattr("os.stat", None)  # of no file
    files, _ = find_images(names, [tmp_path / "annotations", tmp_path], ["images", "."])
    assert files == [tmp_path / "images" / name.upper() for name in names]
    assert len(listed) == len(set(listed)) and tmp_path / "images" / "A" in listed


def test_many_files_are_recognised_by_their_beginnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(coco([PERSON]))
    for part in ("train", "val"):
        folder = tmp_path / "annotations" / part
        folder.mkdir(parents=True)
        for i in range(50):
            (folder / f"{i}.json").write_text(text)

    def refuse(*_: Any) -> None:
        raise AssertionError("the whole file is read")

    monkeypatch.setattr("softgate_ext.data.coco.read_json", refuse)
    assert recognise(tmp_path).splits == ("train", "test")
