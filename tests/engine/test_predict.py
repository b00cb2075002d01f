"""Poses in pictures."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.images import read_image
from softgate_ext.data.lsp import read_lsp
from softgate_ext.engine import predict as folder_run
from softgate_ext.engine import predictor as one_picture
from softgate_ext.engine.checkpoint import load_run
from softgate_ext.engine.config import PredictConfig
from softgate_ext.engine.files import write_json
from softgate_ext.engine.inference import predict_people, to_input
from softgate_ext.engine.predict import find_images, predict
from softgate_ext.engine.predictor import PosePredictor, check_box
from softgate_ext.errors import InputError
from softgate_ext.folding import Folded


@pytest.fixture(scope="module")
def predictor(run: Path) -> PosePredictor:
    return PosePredictor.from_pretrained(run, device="cpu")


@pytest.fixture
def pictures(people: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 3):
        shutil.copy(people / "images" / f"im000{number}.jpg", folder)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def config(run: Path, pictures: Path, tmp_path: Path) -> PredictConfig:
    return PredictConfig(run, (str(pictures),), tmp_path / "out", device="cpu")


def test_a_whole_picture_is_cropped_as_in_training(predictor: PosePredictor, people: Path) -> None:
    """The joints are those that evaluation finds for the same picture."""
    one = read_lsp(people, "test").subset([0])
    expected, scores = predict_people(predictor._infer, PoseDataset(one, 64))
    (person,) = predictor(one.image_paths[0])
    assert np.abs(person.joints - expected[0]).max() < 1e-3
    assert np.abs(person.scores - scores[0]).max() < 1e-3


def test_the_folded_network_finds_the_same_joints(
    predictor: PosePredictor, run: Path, people: Path
) -> None:
    plain = PosePredictor.from_pretrained(run, device="cpu", folded=False)
    assert isinstance(predictor._infer.model, Folded)
    assert not isinstance(plain._infer.model, Folded)
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    images = to_input(crops, torch.device("cpu"))
    with torch.no_grad():
        pairs = zip(predictor._infer.model(images), plain._infer.model(images), strict=True)
        for got, wanted in pairs:
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    (one,), (other,) = (p(people / "images" / "im0009.jpg") for p in (predictor, plain))
    assert np.abs(one.joints - other.joints).max() < 1e-2


def test_a_box_moves_with_the_picture(predictor: PosePredictor, people: Path) -> None:
    """Padding the picture and moving the box alike moves the joints alike."""
    picture = read_image(people / "images" / "im0009.jpg")
    box = (10.0, 8.0, 40.0, 60.0)
    # Grey as the crop's border, so that what lies outside looks the same.
    padded = cv2.copyMakeBorder(picture, 30, 0, 50, 0, cv2.BORDER_CONSTANT, value=(127,) * 3)
    (plain,) = predictor(picture, [box])
    (moved,) = predictor(padded, [(60.0, 38.0, 40.0, 60.0)])
    assert np.abs(moved.joints - plain.joints - (50, 30)).max() < 0.5


def test_several_people_in_several_passes(
    predictor: PosePredictor, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = read_image(people / "images" / "im0001.jpg")
    boxes = [(5.0 * i, 2.0, 30.0, 50.0) for i in range(5)]
    together = predictor(picture, boxes)
    monkeypatch.setattr(one_picture, "CHUNK", 2)
    apart = predictor(picture, boxes)
    assert [person.box for person in apart] == boxes
    for one, other in zip(together, apart, strict=True):
        assert np.abs(one.joints - other.joints).max() < 1e-3
    assert predictor(picture, []) == []


def test_overlays_and_joints_are_written(config: PredictConfig, pictures: Path) -> None:
    overlays = predict(config)
    assert [path.name for path in overlays] == ["im0001.png", "im0002.png", "im0003.png"]
    assert sorted(os.listdir(config.out)) == [*(p.name for p in overlays), "predictions.json"]
    stored = json.loads((config.out / "predictions.json").read_text())
    for entry, overlay in zip(stored["images"], overlays, strict=True):
        assert entry["overlay"] == overlay.name
        picture = read_image(pictures / Path(entry["file"]).name)
        assert picture.shape == (entry["height"], entry["width"], 3)
        assert read_image(overlay).shape == picture.shape
        (person,) = entry["people"]
        assert person["box_xywh"] == [0, 0, entry["width"], entry["height"]]
        assert len(person["joints"]) == 14
        assert set(person["joints"]["left_knee"]) == {"x", "y", "score"}


def test_overlays_differ_from_the_picture_only_where_joints_are_drawn(
    config: PredictConfig, pictures: Path
) -> None:
    (sure, *_) = predict(replace(config, min_score=-10.0))
    picture = read_image(pictures / "im0001.jpg")
    changed = (read_image(sure) != picture).any(-1).mean()
    assert 0.0 < changed < 0.9
    (unsure, *_) = predict(replace(config, min_score=10.0))
    assert (read_image(unsure) == picture).all()


def test_boxes_from_a_file(config: PredictConfig, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    first, second = [4, 4, 30, 40], [10.5, 5.5, 20, 30]
    write_json(
        boxes,
        [
            {"file": "im0002.jpg", "bbox_xywh": first},
            {"file": "pictures/im0002.jpg", "bbox_xywh": second},
            {"file": "pictures/../pictures/im0001.jpg", "bbox_xywh": second},
            {"file": str(tmp_path / "pictures" / "im0003.jpg"), "bbox_xywh": first},
            {"file": "other/im0003.jpg", "bbox_xywh": second},
            {"file": "elsewhere.jpg", "bbox_xywh": first},
        ],
    )
    predict(replace(config, boxes=boxes))
    entries = json.loads((config.out / "predictions.json").read_text())["images"]
    found = [[person["box_xywh"] for person in entry["people"]] for entry in entries]
    assert found[1] == [first, second]
    assert found[0] == [second] and found[2] == [first]


@pytest.mark.parametrize("file", [None, "other/im0002.jpg", "/im0002.jpg", ""])
def test_a_picture_without_a_box(config: PredictConfig, tmp_path: Path, file: str | None) -> None:
    boxes = tmp_path / "boxes.json"
    others = [{"file": f"im000{i}.jpg", "bbox_xywh": [0, 0, 9, 9]} for i in (1, 3)]
    write_json(boxes, others + [{"file": file, "bbox_xywh": [0, 0, 9, 9]}] * (file is not None))
    with pytest.raises(InputError, match="boxes: .* has no entry for .*im0002.jpg"):
        predict(replace(config, boxes=boxes))
    assert not config.out.exists()


def test_inputs_are_not_overwritten(config: PredictConfig, pictures: Path, tmp_path: Path) -> None:
    Image.fromarray(read_image(pictures / "im0001.jpg")).save(pictures / "own.png")
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    (tmp_path / "link").symlink_to(pictures)
    for out in (pictures, tmp_path / "link"):
        with pytest.raises(InputError, match="own.png would overwrite an input"):
            predict(replace(config, out=out))
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    boxes = pictures / "predictions.json"
    write_json(boxes, [{"file": "im0001.jpg", "bbox_xywh": [0, 0, 9, 9]}])
    with pytest.raises(InputError, match="predictions.json would overwrite an input"):
        one = (str(pictures / "im0001.jpg"),)
        predict(replace(config, images=one, boxes=boxes, out=pictures))


def test_a_failure_on_the_way_leaves_no_files(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, canvas: np.ndarray) -> None:
        if path.name == "im0002.png":
            raise OSError(28, "No space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(folder_run, "write_png", fail)
    with pytest.raises(InputError, match="out: cannot write .*No space left"):
        predict(config)
    assert os.listdir(config.out) == []


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_margin_that_is_none(run: Path, margin: float) -> None:
    model, stored, _ = load_run(run)
    with pytest.raises(InputError, match="box_margin: got"):
        PosePredictor(model, replace(stored, box_margin=margin), "cpu")


def test_pictures_of_one_name_get_overlays_of_two(config: PredictConfig, pictures: Path) -> None:
    other = pictures.parent / "more"
    shutil.copytree(pictures, other)
    overlays = predict(replace(config, images=(str(pictures / "im0001.jpg"), f"{other}/*1.jpg")))
    assert [path.name for path in overlays] == ["im0001.png", "im0001-2.png"]


def test_find_images(pictures: Path) -> None:
    names = [path.name for path in find_images([f"{pictures}/im000[23].jpg", str(pictures)])]
    assert names == ["im0002.jpg", "im0003.jpg", "im0001.jpg"]
    for nothing in ("absent.jpg", str(pictures / "*.gif")):
        with pytest.raises(InputError, match="stands for no image"):
            find_images([nothing])
    with pytest.raises(InputError, match="images: got none"):
        find_images([])
    with pytest.raises(InputError, match="cannot look up a*"):
        find_images(["a" * 300])


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 0, 5), "positive width and height"),
        ((0, 0, 5, -1), "positive width and height"),
        ((0, 0, float("nan"), 5), "positive width and height"),
        ((100, 0, 5, 5), "lies outside the picture of 100 x 50"),
        ((0, -9, 5, 5), "lies outside"),
        ((1, 2, 3), "x y width height"),
        ("abcd", "x y width height"),
        ("1234", "x y width height"),
        (["1", "2", "3", "4"], "x y width height"),
        ([True] * 4, "x y width height"),
        pytest.param((0, 0, 10**400, 5), "x y width height", id="huge"),
        pytest.param((0, 0, 10**5000, 5), "thousands of digits", id="unprintable"),
        ((0, 0, 1e308, 1e308), "from 1 to 1000000 pixels"),
        ((0, 0, 1e-300, 1e-300), "from 1 to 1000000 pixels"),
        (None, "x y width height"),
    ],
    ids=str,
)
def test_boxes_that_are_none(box: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_box(box, 100, 50)


@pytest.mark.parametrize(
    "boxes",
    [{"file": "a"}, [{"file": "a"}], [[1, 2, 3, 4]], 3, [{"file": 3, "bbox_xywh": []}]],
    ids=str,
)
def test_a_boxes_file_of_another_kind(config: PredictConfig, tmp_path: Path, boxes: Any) -> None:
    write_json(tmp_path / "boxes.json", boxes)
    with pytest.raises(InputError, match="boxes: .* is not a list of"):
        predict(replace(config, boxes=tmp_path / "boxes.json"))


def test_nothing_is_written_when_one_input_is_wrong(
    config: PredictConfig, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="give one of them"):
        predict(replace(config, box=(0, 0, 5, 5), boxes=tmp_path / "boxes.json"))
    with pytest.raises(InputError, match="lies outside the picture"):
        predict(replace(config, box=(500, 0, 5, 5)))
    last = pictures / "im0003.jpg"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(InputError, match="im0003.jpg"):
        predict(config)
    assert not config.out.exists()
    (tmp_path / "file").write_text("")
    last.unlink()
    with pytest.raises(InputError, match="cannot write to the folder"):
        predict(replace(config, out=tmp_path / "file" / "out"))
