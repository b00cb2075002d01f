"""Where the images of an annotation file are searched, and what is printed for missing ones."""

import json
import os
from pathlib import Path

import pytest
from official import coco, picture
from tool_layouts import (
    PERSON,
    annotate,
    cvat_of_one_subset,
    posetrack,
)

from softgate_ext.data.formats import open_dataset
from softgate_ext.data.image_files import find_images
from softgate_ext.errors import InputError


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
