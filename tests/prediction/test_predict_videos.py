"""`softgate predict` on videos, animations and cameras: it writes videos and JSON lines."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from softgate_ext.data.images import read_image
from softgate_ext.files.atomic import write_json
from softgate_ext.prediction import predict as batch
from softgate_ext.prediction.person import Person
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.video import Frame, VideoReader, VideoWriter


def test_a_video_becomes_a_video_and_lines(config: PredictConfig, video: Path) -> None:
    outcome = predict(replace(config, images=(str(video),), batch_size=2, min_score=-10.0))
    assert [path.name for path in outcome.written] == ["walk.mp4", "walk.jsonl", "predictions.json"]
    lines = [json.loads(line) for line in (config.out / "walk.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert [line["seconds"] for line in lines] == [0.0, 0.3, 0.4]
    assert all(len(line["people"][0]["joints"]) == 14 for line in lines)
    (entry,) = json.loads((config.out / "predictions.json").read_text())["videos"]
    assert entry["frames"] == 3 and entry["rate"] == pytest.approx(5.0)
    before, after = (list(VideoReader(v)) for v in (video, config.out / video.name))
    assert [frame.seconds for frame in after] == [frame.seconds for frame in before]
    assert len(after) == 3
    for plain, drawn in zip(before, after, strict=True):
        assert drawn.picture.shape == plain.picture.shape
        assert (
            np.abs(drawn.picture.astype(int) - plain.picture).mean() > 3
        )  # more than coding it again changes


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp", "walk.png", "walk.jpg"])
def test_an_animation_is_a_video(config: PredictConfig, pictures: Path, name: str) -> None:
    """Whatever it is called."""
    first, *more = (Image.open(pictures / f"im000{n}.jpg").resize((80, 80)) for n in (1, 2, 3))
    kind = "GIF" if name == "walk.jpg" else None
    durations = [300, 100, 200]
    path = pictures.parent / name
    first.save(path, kind, save_all=True, append_images=more, duration=durations)
    outcome = predict(replace(config, images=(str(path),)))
    assert [path.name for path in outcome.written] == ["walk.mp4", "walk.jsonl", "predictions.json"]
    lines = [json.loads(line) for line in (config.out / "walk.jsonl").read_text().splitlines()]
    assert [line["seconds"] for line in lines] == pytest.approx([0, 0.3, 0.4])
    assert [one.seconds for one in VideoReader(config.out / "walk.mp4")] == pytest.approx(
        [0, 0.3, 0.4], abs=1e-4
    )


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_an_animation_that_is_cut_short_costs_a_sentence(
    config: PredictConfig, tmp_path: Path, name: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    first, *more = map(Image.fromarray, noise)
    first.save(tmp_path / name, save_all=True, append_images=more, duration=100)
    config = replace(config, images=(str(tmp_path / name),))
    assert predict(config).failed == []
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 5 // 6])
    outcome = predict(config)
    sentence = f"{tmp_path / name} is cut short or damaged; 2 frames are used"
    assert outcome.failed == [sentence] and outcome.frames == 2
    assert predict(replace(config, max_frames=1)).failed == []


def test_further_pages_of_a_picture_cost_a_sentence(config: PredictConfig, tmp_path: Path) -> None:
    first, *more = (Image.new("RGB", (40, 30), (n, 0, 0)) for n in range(3))
    first.save(tmp_path / "a.tif", save_all=True, append_images=more)
    first.save(tmp_path / "b.tif")
    said: list[str] = []
    images = tuple(str(tmp_path / name) for name in ("a.tif", "b.tif"))
    outcome = predict(replace(config, images=images), said.append)
    assert said == [f"{images[0]} has 3 pages; only the first is used"]
    assert outcome.failed == [] and outcome.frames == 2


@pytest.mark.parametrize("smooth", [False, True])
def test_people_of_a_video_have_tracks_and_less_jitter_if_asked(
    config: PredictConfig, pictures: Path, smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install av")
    writer = VideoWriter(pictures.parent / "still.mp4", 30.0, 80, 80)
    for number in range(60):
        writer.write(Frame(read_image(pictures / "im0001.jpg"), number / 30))
    writer.close()
    random, genuine = np.random.default_rng(0), batch.PosePredictor.predict
    boxes = config.out.parent / "boxes.json"
    write_json(
        boxes, [{"file": "still.mp4", "bbox_xywh": b} for b in ([0, 0, 39, 80], [40, 0, 39, 80])]
    )

    def jittered(self: Any, located: Any) -> list[list[Person]]:
        found = genuine(self, located)
        assert all(len(people) == 2 for people in found)
        for person in (person for people in found for person in people):
            assert person.shown is not None
            person.shown[:] = True
            person.joints[:] = random.normal(person.box[0], 1, person.joints.shape)
        return found

    monkeypatch.setattr(batch.PosePredictor, "predict", jittered)
    images = (str(pictures.parent / "still.mp4"),)
    predict(replace(config, images=images, boxes=boxes, outputs=("json",), smooth=smooth))
    lines = [json.loads(line) for line in (config.out / "still.jsonl").read_text().splitlines()]
    for number, start in ((0, 0), (1, 40)):
        people = [line["people"][number] for line in lines[15:]]
        assert {person["track"] for person in people} == {number}
        spread = np.std([[j["x"] for j in person["joints"].values()] for person in people], axis=0)
        middle = np.mean([[j["x"] for j in person["joints"].values()] for person in people])
        assert abs(middle - start) < 0.2
        assert spread.mean() < 0.6 if smooth else 0.9 < spread.mean() < 1.1


def test_max_frames_ends_a_video(config: PredictConfig, video: Path) -> None:
    outcome = predict(replace(config, images=(str(video),), outputs=("json",), max_frames=2))
    assert outcome.frames == 2
    assert [path.name for path in outcome.written] == ["walk.jsonl", "predictions.json"]


class Camera:
    """Stands for OpenCV's camera 7; another number is none."""

    def __init__(self, number: int) -> None:
        self.there = number == 7

    def isOpened(self) -> bool:
        return self.there

    def get(self, what: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        return True, np.full((60, 80, 3), 99, np.uint8)

    def release(self) -> None: ...


def test_a_camera(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    outcome = predict(replace(config, images=("7", "8"), max_frames=2, outputs=("json",)))
    assert outcome.failed == ["images: camera 8 does not exist or cannot be opened"]
    assert outcome.frames == 2 and (config.out / "camera7.jsonl").is_file()


def test_ctrl_c_ends_a_camera_well(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = 0

    def read(self: Camera) -> tuple[bool, Any]:
        nonlocal frames
        frames += 1
        if frames == 3:
            signal.raise_signal(signal.SIGINT)
        return True, np.full((60, 80, 3), 99, np.uint8)

    monkeypatch.setattr(Camera, "read", read)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    outcome = predict(replace(config, images=("7",)))
    assert outcome.frames == 3
    assert {path.name for path in outcome.written} >= {"camera7.mp4", "camera7.jsonl"}


def test_ctrl_c_leaves_no_half_video(
    config: PredictConfig, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(self: VideoReader) -> Iterator[Frame]:
        for number in range(9):
            signal.raise_signal(signal.SIGINT)
            yield Frame(np.zeros((60, 80, 3), np.uint8), number / 5)

    monkeypatch.setattr(VideoReader, "__iter__", frames)
    with pytest.raises(KeyboardInterrupt):
        predict(replace(config, images=(str(video),), batch_size=1))
    assert os.listdir(config.out) == []
