"""Three images, a video of them, and the command that predicts on the images."""

import shutil
from pathlib import Path

import pytest

from softgate_ext.data.images import read_image
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.video import Frame, VideoWriter


@pytest.fixture
def pictures(people: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 3):
        shutil.copy(people / "images" / f"im000{number}.jpg", folder)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def video(pictures: Path, tmp_path: Path) -> Path:
    """Three frames, 80 x 80, the second of them late."""
    pytest.importorskip("av", reason="needs PyAV: pip install av")
    path = tmp_path / "walk.mp4"
    writer = VideoWriter(path, 5.0, 80, 80)
    for name, seconds in (("im0001.jpg", 0.0), ("im0002.jpg", 0.3), ("im0003.jpg", 0.4)):
        writer.write(Frame(read_image(pictures / name), seconds))
    writer.close()
    return path


@pytest.fixture
def config(run: Path, pictures: Path, tmp_path: Path) -> PredictConfig:
    return PredictConfig(run, (str(pictures),), tmp_path / "out", device="cpu")
