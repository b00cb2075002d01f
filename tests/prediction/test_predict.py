"""`softgate predict` on images: it writes drawings, JSON and CSV."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json
from softgate_ext.prediction import predict as batch
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig


def written(config: PredictConfig) -> list[Path]:
    """The drawings of a batch in which every source could be used."""
    outcome = predict(config)
    assert outcome.failed == []
    return [path for path in outcome.written if path.suffix == ".png"]


def stored(config: PredictConfig) -> dict[str, Any]:
    return json.loads((config.out / "predictions.json").read_text())


def test_overlays_and_joints_are_written(config: PredictConfig, pictures: Path) -> None:
    overlays = written(config)
    assert [path.name for path in overlays] == ["im0001.png", "im0002.png", "im0003.png"]
    assert sorted(os.listdir(config.out)) == [*(p.name for p in overlays), "predictions.json"]
    for entry, overlay in zip(stored(config)["images"], overlays, strict=True):
        assert entry["overlay"] == overlay.name
        picture = read_image(pictures / Path(entry["file"]).name)
        assert picture.shape == (entry["height"], entry["width"], 3)
        assert read_image(overlay).shape == picture.shape
        (person,) = entry["people"]
        assert person["box_xywh"] == [0, 0, entry["width"], entry["height"]]
        assert len(person["joints"]) == 14
        assert set(person["joints"]["left_knee"]) - {"shown"} == {"x", "y", "score"}


def test_overlays_differ_from_the_picture_only_where_joints_are_drawn(
    config: PredictConfig, pictures: Path
) -> None:
    (sure, *_) = written(replace(config, min_score=-10.0))
    picture = read_image(pictures / "im0001.jpg")
    changed = (read_image(sure) != picture).any(-1).mean()
    assert 0.0 < changed < 0.9
    (unsure, *_) = written(replace(config, min_score=10.0))
    assert (read_image(unsure) == picture).all()


def test_joints_that_are_not_drawn_are_marked(config: PredictConfig, pictures: Path) -> None:
    """Those below `min_score`, and those outside the picture whatever their score."""
    box = (-60.0, 0.0, 80.0, 80.0)  # most of it is beside the picture
    predict(replace(config, min_score=-10.0, box=box))
    entries = json.loads((config.out / "predictions.json").read_text())["images"]
    marked = 0
    for entry in entries:
        for joint in entry["people"][0]["joints"].values():
            inside = -0.5 <= joint["x"] <= entry["width"] - 0.5
            inside &= -0.5 <= joint["y"] <= entry["height"] - 0.5
            assert joint.get("shown", True) == inside
            marked += not inside
    assert marked
    predict(replace(config, min_score=10.0))
    (entry, *_) = json.loads((config.out / "predictions.json").read_text())["images"]
    assert not any(joint["shown"] for joint in entry["people"][0]["joints"].values())


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
    said: list[str] = []
    assert predict(replace(config, boxes=boxes), said.append).failed == []
    others = "2 pictures that are not among the sources: other/im0003.jpg, elsewhere.jpg"
    assert said == [f"boxes: {boxes} has boxes of {others}"]
    entries = stored(config)["images"]
    found = [[person["box_xywh"] for person in entry["people"]] for entry in entries]
    assert found[1] == [first, second]
    assert found[0] == [second] and found[2] == [first]


def test_boxes_of_a_detector(config: PredictConfig, tmp_path: Path) -> None:
    """In COCO's form; those it is not sure of are left out, and its score is kept."""
    boxes, box = tmp_path / "boxes.json", [4, 4, 30, 40]
    results = [(1, 1, 0.9), (1, 1, 0.6), (2, 1, 0.2), (3, 18, 0.9)]
    write_json(
        boxes,
        [{"image_id": i, "category_id": c, "bbox": box, "score": s} for i, c, s in results],
    )
    for least, scores in ((0.5, [0.9, 0.6]), (0.8, [0.9])):
        outcome = predict(replace(config, boxes=boxes, detect_score=least))
        assert outcome.failed == []
        first, *others = stored(config)["images"]
        assert [person["box_score"] for person in first["people"]] == scores
        assert [one["people"] for one in others] == [[], []]


def test_a_bad_box_costs_itself(config: PredictConfig, video: Path, tmp_path: Path) -> None:
    boxes, good = tmp_path / "boxes.json", [4, 4, 30, 40]
    entries = [("im0001.jpg", good), ("im0001.jpg", [500, 0, 5, 5]), ("im0001.jpg", None)]
    entries += [("im0002.jpg", good), ("im0003.jpg", [0, 0, 0, 0])]
    entries += [("walk.mp4", [0, 0, -1, 5]), ("walk.mp4", good)]
    write_json(boxes, [*({"file": f, "bbox_xywh": b} for f, b in entries), {"file": 3}])
    told: list[str] = []
    sources = (*config.images, str(video))
    outcome = predict(replace(config, images=sources, boxes=boxes, outputs=("json",)), told.append)
    assert outcome.failed == told
    for sentence, words in zip(
        told,
        (
            "boxes: entry 8 of",
            "im0001.jpg: box: 500 0 5 5 lies outside",
            "im0001.jpg: box: got None; takes four numbers",
            "im0003.jpg: box: got 0 0 0 0; takes a positive",
            "walk.mp4: box: got 0 0 -1 5; takes a positive",
        ),
        strict=True,
    ):
        assert words in sentence
    images = stored(config)["images"]
    assert [Path(one["file"]).name for one in images] == ["im0001.jpg", "im0002.jpg"]
    assert [len(one["people"]) for one in images] == [1, 1]
    assert stored(config)["videos"][0]["frames"] == 3


def test_a_misspelt_source_costs_itself(config: PredictConfig, pictures: Path) -> None:
    told: list[str] = []
    words = (str(pictures / "absent.jpg"), str(pictures / "im0001.jpg"), str(pictures / "*.gif"))
    outcome = predict(replace(config, images=words), told.append)
    assert outcome.frames == 1 and outcome.failed == told
    assert ["absent.jpg matches no picture" in told[0], "*.gif matches" in told[1]] == [1, 1]
    assert [entry["file"] for entry in stored(config)["failed"]] == [words[0], words[2]]


@pytest.mark.parametrize("file", [None, "other/im0002.jpg", "/im0002.jpg", ""])
def test_a_picture_without_a_box(config: PredictConfig, tmp_path: Path, file: str | None) -> None:
    boxes = tmp_path / "boxes.json"
    others = [{"file": f"im000{i}.jpg", "bbox_xywh": [0, 0, 9, 9]} for i in (1, 3)]
    write_json(boxes, others + [{"file": file, "bbox_xywh": [0, 0, 9, 9]}] * (file is not None))
    outcome = predict(replace(config, boxes=boxes))
    (sentence,) = outcome.failed
    assert sentence.startswith("boxes: ") and "has no entry for" in sentence
    assert "im0002.jpg" in sentence and outcome.frames == 2


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


def test_a_full_disk_is_one_sentence(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, canvas: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch, "write_png", fail)
    with pytest.raises(InputError, match="out: cannot write .*No space left"):
        predict(config)
    assert os.listdir(config.out) == []


def test_pictures_of_one_name_get_overlays_of_two(config: PredictConfig, pictures: Path) -> None:
    other = pictures.parent / "more"
    shutil.copytree(pictures, other)
    overlays = written(replace(config, images=(str(pictures / "im0001.jpg"), f"{other}/*1.jpg")))
    assert [path.name for path in overlays] == ["im0001.png", "im0001-2.png"]


@pytest.mark.parametrize(
    "boxes",
    [{"file": "a"}, [{"file": "a"}], [[1, 2, 3, 4]], 3, [{"file": 3, "bbox_xywh": []}]],
    ids=str,
)
def test_a_boxes_file_of_another_kind(config: PredictConfig, tmp_path: Path, boxes: Any) -> None:
    write_json(tmp_path / "boxes.json", boxes)
    with pytest.raises(InputError, match="boxes: .* is neither a list of"):
        predict(replace(config, boxes=tmp_path / "boxes.json"))


def test_nothing_is_written_when_an_option_is_wrong(
    config: PredictConfig, pictures: Path, tmp_path: Path
) -> None:
    for wrong, words in (
        ({"box": (0, 0, 5, 5), "boxes": tmp_path / "boxes.json"}, "give one of them"),
        ({"box": (0, 0, 5, 5), "detect": True}, "give one of them"),
        ({"box": (0, 0, -5, 5)}, "^box: got 0 0 -5 5; takes a positive width and height$"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"max_frames": -1}, "max_frames: got -1"),
        ({"outputs": ()}, "outputs: got none; takes one or more of overlay, json, csv"),
        ({"outputs": ("json", "html")}, "outputs: got json html; takes"),
        ({"min_score": float("nan")}, "min_score: got nan; takes"),
        ({"detect_score": 0.7}, "detect_score: got 0.7 without detect or boxes"),
        ({"min_box": 7.0}, "min_box: got 7 without detect"),
        (
            {"out": pictures},
            "out: got .*, the folder whose pictures are read; takes another folder",
        ),
    ):
        with pytest.raises(InputError, match=words):
            predict(replace(config, **wrong))
    assert not config.out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to the folder"):
        predict(replace(config, out=tmp_path / "file" / "out"))


def test_what_cannot_be_used_costs_a_sentence_and_the_others_go_on(
    config: PredictConfig, pictures: Path
) -> None:
    cut = pictures / "im0002.jpg"
    cut.write_bytes(cut.read_bytes()[:500])
    (pictures / "text.png").write_text("no picture")
    (pictures / "empty.mp4").write_bytes(b"")
    told: list[str] = []
    outcome = predict(config, told.append)
    assert outcome.failed == told and len(told) == 3
    for sentence, name in zip(told, ("im0002.jpg", "text.png", "empty.mp4"), strict=True):
        assert name in sentence and "\n" not in sentence
    entries = stored(config)
    assert [Path(entry["file"]).name for entry in entries["images"]] == ["im0001.jpg", "im0003.jpg"]
    assert [entry["error"] for entry in entries["failed"]] == told
    assert sorted(os.listdir(config.out)) == ["im0001.png", "im0003.png", "predictions.json"]


def test_where_nothing_can_be_used_nothing_is_written(config: PredictConfig) -> None:
    outcome = predict(replace(config, box=(500, 0, 5, 5)))
    assert len(outcome.failed) == 3 and "lies outside the picture" in outcome.failed[0]
    assert outcome.written == [] and not config.out.exists()


@pytest.mark.parametrize("size", [1, 2, 64])
def test_forward_passes_are_shared_between_pictures(
    config: PredictConfig, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many share one, the joints are the same."""
    passes = []
    genuine = batch.PosePredictor.predict

    def count(self: Any, located: Any) -> Any:
        passes.append(len(located))
        return genuine(self, located)

    monkeypatch.setattr(batch.PosePredictor, "predict", count)
    outcome = predict(replace(config, batch_size=size))
    assert [n for n in passes if n] == {1: [1, 1, 1], 2: [2, 1], 64: [3]}[size]
    assert outcome.frames == outcome.people == 3
    assert "3 pictures, 3 people in" in outcome.throughput()


def test_csv_holds_what_json_holds(config: PredictConfig, video: Path, pictures: Path) -> None:
    sources = (str(pictures / "im0001.jpg"), str(video))
    predict(replace(config, images=sources, outputs=("csv", "json"), box=(4, 5, 50, 60)))
    assert sorted(os.listdir(config.out)) == ["predictions.csv", "predictions.json", "walk.jsonl"]
    with open(config.out / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14 * 4
    firsts = [rows[14 * i] for i in range(4)]
    assert [row["frame"] for row in firsts] == ["", "0", "1", "2"]
    assert [row["seconds"] for row in firsts] == ["", "0.0000", "0.3000", "0.4000"]
    assert [row["track"] for row in firsts] == ["", "0", "0", "0"]
    joints = stored(config)["images"][0]["people"][0]["joints"]
    for row, (name, joint) in zip(rows[:14], joints.items(), strict=True):
        assert row["joint"] == name and float(row["joint_x"]) == joint["x"]
        assert [row[key] for key in "xywh"] == ["4", "5", "50", "60"]
