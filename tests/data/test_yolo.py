"""Poses in YOLO's form: data.yaml, images, and a text file for each image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import picture
from yolo_files import (
    LINE,
    above_its_root,
    absent_folder,
    absent_picture,
    beside_the_pictures,
    label,
    no_labels,
    of_a_list,
    of_another_machine,
    of_cvat,
    of_roboflow,
    text,
    ultralytics,
    write_yaml,
    wrong_settings,
)

from softgate_ext.cli import main
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.yolo import read_yolo
from softgate_ext.errors import InputError


def test_people_are_in_pixels_of_their_pictures(tmp_path: Path) -> None:
    people = read_yolo(ultralytics(tmp_path))
    assert people.image_paths == [tmp_path / "images" / "train" / "1.jpg"]
    np.testing.assert_allclose(people.joints, [[[30, 9], [90, 45], [0, 0]]], atol=1e-4)
    assert people.labelled.tolist() == [[True, True, False]]
    assert people.visible.tolist() == [[True, False, False]]
    np.testing.assert_allclose(people.boxes, [[30, 9, 90, 63]], atol=1e-4)
    np.testing.assert_allclose(people.centers, [[59.5, 35.5]], atol=1e-4)
    np.testing.assert_allclose(people.sizes, [1.25 * 60], atol=1e-4)
    assert people.skeleton.name == "doll" and people.skeleton.joints == ("nose", "hand1", "hand2")
    assert people.skeleton.flip_pairs == ((2, 1),)
    assert people.persons is not None and people.persons.tolist() == [[0, 0]] and not people.notes


def test_a_set_is_recognised_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ultralytics(tmp_path / "set")
    for path in (tmp_path / "set", file):
        source = recognise(path)
        assert source.format == "yolo" and source.splits == ("train", "test")
        assert len(source.read("all")) == 2
    capitals = file.rename(file.with_name("Data.YAML"))
    assert recognise(tmp_path / "set").path == recognise(capitals).path == capitals
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0


@pytest.mark.parametrize(
    ("write", "train"),
    [
        (of_another_machine, 1), (above_its_root, 1), (of_roboflow, 1), (of_cvat, 1),
        (of_a_list, 2), (beside_the_pictures, 1),
    ],
)  # fmt: skip
def test_where_the_pictures_are(
    tmp_path: Path, write: Callable[[Path], None], train: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "set")
    assert len(open_dataset(tmp_path / "set")) == train
    assert len(open_dataset(tmp_path / "set", "test")) == 1
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0


def test_of_three_parts_val_is_measured(tmp_path: Path) -> None:
    label(tmp_path, "test", name="last")
    file = ultralytics(tmp_path, test="images/test")
    people = read_yolo(file, "test")
    assert people.image_paths == [tmp_path / "images" / "val" / "1.jpg"]
    assert people.notes == ("its test part is not read, because val is the part that is measured",)
    write_yaml(tmp_path, val=None, test="images/test")
    assert [path.stem for path in read_yolo(file, "test").image_paths] == ["last"]
    write_yaml(tmp_path, val=None)
    assert recognise(file).splits == ("train",)


def test_lines_that_cannot_be_read_cost_themselves(tmp_path: Path) -> None:
    file = ultralytics(tmp_path)
    wrong = {
        "0 0.5 0.4 0.5 0.6": "5 numbers instead of 14",
        LINE.replace("0.25", "x"): "a word that is not a number",
        LINE.replace("0.25", "nan"): "numbers outside of 0 to 1",
        LINE.replace("0.25", "30"): "numbers outside of 0 to 1",
        LINE.replace("0.6", "0"): "without width or height",
        LINE.replace("0.25", "9" * 400): "numbers outside of 0 to 1",
    }
    nobody = "0 0.5 0.4 0.5 0.6 0.25 0.1 0 0.75 0.5 0 0 0 0"
    for line, why in wrong.items():
        label(tmp_path, "train", lines=f"{LINE}\n\n{line}\n{nobody}\n{LINE}\n")
        people = read_yolo(file)
        assert people.persons is not None and people.persons.tolist() == [[0, 0], [0, 4]]
        first, second = people.notes
        assert first.startswith("1 line with ") and first.endswith(f"{why} is left out: 1.txt:3")
        assert second == "1 person without a labelled joint is left out: 1.txt:4"


def test_joints_without_flags(tmp_path: Path) -> None:
    file = ultralytics(tmp_path, kpt_shape=[3, 2])
    label(tmp_path, "train", lines="0 0.5 0.4 0.5 0.6 0.25 0.1 0 0 -1 0.5")
    people = read_yolo(file)
    assert people.labelled.tolist() == people.visible.tolist() == [[True, False, False]]


def test_pictures_without_labels_and_labels_without_pictures(tmp_path: Path) -> None:
    file = ultralytics(tmp_path)
    picture(tmp_path / "images" / "train" / "0.jpg")
    (tmp_path / "labels" / "train" / "2.txt").write_text(LINE)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("doll")
    people = read_yolo(file)
    assert people.persons is not None and people.persons.tolist() == [[1, 0]]
    assert people.notes == ("1 label file has no picture: 2.txt",)


@pytest.mark.parametrize("name", ["a" * 5000 + ".jpg", "a\0b.jpg"])
def test_a_name_that_no_file_can_have_costs_itself(tmp_path: Path, name: str) -> None:
    of_cvat(tmp_path)
    with (tmp_path / "train.txt").open("a") as file:
        file.write(f"{name}\n")
    assert len(read_yolo(tmp_path / "data.yaml", check_images=False)) == 1
    with pytest.raises(InputError, match="1 image of 2 is missing, first a"):
        read_yolo(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (absent_folder, r"its train is images/none, which does not exist; looked in .*/set/images"),
        (no_labels, r"'train' of .* is empty: .* such as .*/set/labels/train/1.txt; takes"),
        (absent_picture, r"1 image of 1 is missing, first data/images/train/1.jpg; looked in \."),
        (wrong_settings(train=5), "a folder, a .txt file or a list of them as train"),
        (wrong_settings(train="a" * 300), "its train is a+, which does not exist"),
        (wrong_settings(kpt_shape="3x3"), r"kpt_shape \[joints, 2\] or \[joints, 3\]"),
        (wrong_settings(kpt_shape=[3, 4]), r"kpt_shape \[joints, 2\] or \[joints, 3\]"),
        (wrong_settings(train=None, val=None), "must name pictures as train, val or test"),
        (text("kpt_shape: [3, 3"), "data.yaml is not valid YAML"),
        (text("kpt_shape: 2000-02-30"), "data.yaml is not valid YAML"),
        (text("kpt_shape: !!python/object:os.system x"), "data.yaml is not valid YAML"),
        (text("kpt_shape: [3, 3]\na: " + "[" * 5000), "data.yaml is not valid YAML"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_sets_are_one_sentence(
    tmp_path: Path, write: Callable[[Path], None], sentence: str
) -> None:
    write(tmp_path / "set")
    with pytest.raises(InputError, match=sentence) as error:
        open_dataset(tmp_path / "set")
    assert "\n" not in str(error.value)


def test_a_yaml_of_boxes_alone_is_no_set_of_poses(tmp_path: Path) -> None:
    file = ultralytics(tmp_path, kpt_shape=None)
    with pytest.raises(InputError, match="data.yaml must have kpt_shape"):
        recognise(file)
    with pytest.raises(InputError, match="it must hold .* data.yaml with kpt_shape"):
        recognise(tmp_path)


@pytest.mark.parametrize("flag", ["7", "-1", "0.5", "1e300"])
def test_other_flags_than_coco_s_are_told(tmp_path: Path, flag: str) -> None:
    file = ultralytics(tmp_path)
    odd = LINE.replace("0.1 2", f"0.1 {flag}")
    label(tmp_path, "train", lines=f"{LINE}\n{odd}")
    people = read_yolo(file)
    assert people.labelled[1].tolist() == [flag != "-1", True, False]
    assert people.notes == (
        "1 line has flags other than 0, 1 and 2; those above 0 are read as labelled: 1.txt:2",
    )


@pytest.mark.parametrize("flag", ["nan", "inf", "9" * 400])
def test_a_flag_that_is_no_number_costs_its_line(tmp_path: Path, flag: str) -> None:
    file = ultralytics(tmp_path)
    label(tmp_path, "train", lines=LINE + "\n" + LINE.replace("0.1 2", f"0.1 {flag}"))
    people = read_yolo(file)
    assert len(people) == 1
    assert people.notes == ("1 line with a flag that is not a finite number is left out: 1.txt:2",)


@pytest.mark.parametrize("names", [{0: "doll"}, ["doll"], {"0": "doll"}, {0: None}])
def test_a_class_that_is_not_listed_costs_its_lines(tmp_path: Path, names: Any) -> None:
    file = ultralytics(tmp_path, names=names)
    lines = (LINE, f"1{LINE[1:]}", f"0.5{LINE[1:]}", f"nan{LINE[1:]}", f"0.0{LINE[1:]}")
    label(tmp_path, "train", lines="\n".join(lines))
    people = read_yolo(file)
    assert people.persons is not None and people.persons[:, 1].tolist() == [0, 4]
    assert people.notes == (
        "3 lines of a class that names does not list are left out: 1.txt:2, 1.txt:3, 1.txt:4",
    )
    write_yaml(tmp_path, names=None)
    assert len(read_yolo(file)) == 5


def test_several_classes_are_told(tmp_path: Path) -> None:
    file = ultralytics(tmp_path, names=["doll", "cat"])
    label(tmp_path, "train", lines=f"{LINE}\n1{LINE[1:]}")
    people = read_yolo(file)
    assert len(people) == 2 and people.skeleton.name == "yolo"
    assert people.notes == ("2 classes are read as one set",)
