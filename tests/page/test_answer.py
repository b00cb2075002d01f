"""What the page takes and shows."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.page.answer import LARGEST, SIDE, Limits, answer, draw_heatmaps
from softgate_ext.prediction.predictor import PosePredictor

LIMITS = Limits(megabytes=0.1, megapixels=1.0)


@pytest.fixture(scope="module")
def predictor(untrained: Path) -> PosePredictor:
    return PosePredictor.from_pretrained(untrained, device="cpu")


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def test_a_picture_is_answered_with_everything(predictor: PosePredictor, picture: Path) -> None:
    given = answer(predictor, picture, LIMITS)
    shape = read_image(picture).shape
    assert given.drawing is not None and given.drawing.shape == shape
    assert given.words.startswith(f"1 person in {shape[1]} x {shape[0]} pixels")
    names = [caption.rsplit("  ", 1)[0] for _, caption in given.heatmaps]
    assert names == [name.replace("_", " ") for name in predictor.skeleton.joints]
    assert all(drawn.shape == (SIDE, SIDE, 3) for drawn, _ in given.heatmaps)
    assert given.people is not None and given.people["file"] == "im0001.jpg"
    (person,) = predictor(picture)
    assert given.people["people"] == [person.to_json()]


def test_heatmaps_glow_where_the_joint_is(predictor: PosePredictor, picture: Path) -> None:
    (look,) = predictor.predict_with_heatmaps(predictor.locate(read_image(picture)))
    peaks = [(joint % 16, 3 * joint % 16) for joint in range(14)]
    heatmaps = np.full((14, 16, 16), -0.1, np.float32)
    for heatmap, peak in zip(heatmaps, peaks, strict=True):
        heatmap[peak] = 0.2  # an unsure joint shows as well
    for (drawn, _), (y, x) in zip(
        draw_heatmaps(replace(look, heatmaps=heatmaps)), peaks, strict=True
    ):
        cell = SIDE // 16
        middle = drawn[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell, :2]
        assert middle.max() > 180  # yellow, where the darkened crop is at most 140
        drawn[max(y - 1, 0) * cell : (y + 2) * cell, max(x - 1, 0) * cell : (x + 2) * cell] = 0
        assert drawn.max() <= 140


def test_large_drawings_are_sent_smaller(predictor: PosePredictor, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 400)).save(tmp_path / "wide.png")
    given = answer(predictor, tmp_path / "wide.png", LIMITS)
    assert given.drawing is not None and given.drawing.shape == (LARGEST * 400 // 2000, LARGEST, 3)
    assert given.people is not None and given.people["width"] == 2000


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("text.jpg", b"no picture", "is not a picture that can be read; give JPEG, PNG"),
        ("page.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        ("big.jpg", bytes(200_000), "the file has 0.2 megabytes; give one of up to 0.1"),
        ("wide.png", bomb(2_000), "2000 x 2000 pixels; give one of up to 1 megapixels"),
        ("bomb.png", bomb(50_000), "too many pixels; give one of up to 1 megapixels"),
        ("cut.png", bomb(100), "damaged or cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_what_is_refused_is_answered_with_a_sentence(
    predictor: PosePredictor, tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    given = answer(predictor, tmp_path / name, LIMITS)
    assert words in given.words and "\n" not in given.words
    assert str(tmp_path) not in given.words  # nor any other path of the server
    assert given.drawing is None and given.people is None and given.heatmaps == []


def test_pixels_are_counted_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1001, 1000)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="1001 x 1000 pixels"):
        LIMITS.check(tmp_path / "large.png")


def test_nobody(predictor: PosePredictor, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "detector", lambda picture: [])
    given = answer(predictor, picture, LIMITS)
    assert given.words == "Nobody was found in the picture." and given.heatmaps == []
    assert given.drawing is not None and given.people is not None
    assert given.people["people"] == []
