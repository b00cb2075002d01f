"""The images that the page accepts, and its answers."""

import base64
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.page.answer import LARGEST, SIDE, answer, decoded, heatmaps, scans
from softgate_ext.prediction.predictor import PosePredictor


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


def shape(text: str) -> tuple[int, int, int]:
    """Of a picture as it is sent."""
    return pixels(text).shape


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_picture_is_answered_with_everything(predictor: PosePredictor, picture: Path) -> None:
    given = answer(predictor, picture.read_bytes(), 1)
    height, width = read_image(picture).shape[:2]
    assert shape(given["drawing"]) == (height, width, 3)
    assert given["words"].startswith(f"1 person in {width} x {height} pixels")
    assert [one["joint"] for one in given["heatmaps"]] == list(predictor.skeleton.joints)
    assert all(shape(one["png"]) == (SIDE, SIDE, 3) for one in given["heatmaps"])
    assert (given["people"]["width"], given["people"]["height"]) == (width, height)
    (person,) = predictor(picture)
    assert given["people"]["people"] == [person.to_json()]
    assert given["heatmaps"][3]["score"] == person.to_json()["joints"]["left_hip"]["score"]


def test_heatmaps_glow_where_the_joint_is(predictor: PosePredictor, picture: Path) -> None:
    (look,) = predictor.predict_with_heatmaps(predictor.locate(read_image(picture)))
    peaks = [(joint % 16, 3 * joint % 16) for joint in range(14)]
    maps = np.full((14, 16, 16), -0.1, np.float32)
    for one, peak in zip(maps, peaks, strict=True):
        one[peak] = 0.2  # an unsure joint shows as well
    for one, (y, x) in zip(heatmaps(replace(look, heatmaps=maps)), peaks, strict=True):
        cell, drawn = SIDE // 16, pixels(one["png"]).copy()
        middle = drawn[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell, :2]
        assert middle.max() > 180  # yellow, where the darkened crop is at most 140
        drawn[max(y - 1, 0) * cell : (y + 2) * cell, max(x - 1, 0) * cell : (x + 2) * cell] = 0
        assert drawn.max() <= 140


def test_large_drawings_are_sent_smaller(predictor: PosePredictor) -> None:
    given = answer(predictor, encoded(Image.new("RGB", (2000, 400))), 1)
    assert shape(given["drawing"]) == (LARGEST * 400 // 2000, LARGEST, 3)
    assert given["people"]["width"] == 2000


@pytest.mark.parametrize("size", [(40_000, 1), (1, 40_000)])
def test_a_line_of_pixels_is_a_picture(predictor: PosePredictor, size: tuple[int, int]) -> None:
    given = answer(predictor, encoded(Image.new("RGB", size)), 1)
    assert sorted(shape(given["drawing"])[:2]) == [1, LARGEST]


def test_pictures_are_read_as_elsewhere(picture: Path, tmp_path: Path) -> None:
    """Turned upright, and grey of 16 bits scaled."""
    image = Image.open(picture)
    turned = image.getexif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32))
    for name, data in (
        ("turned.jpg", encoded(image, "JPEG", exif=turned)),
        ("deep.png", encoded(deep)),
        ("first.gif", encoded(image.convert("P"), "GIF")),
        ("picture.webp", encoded(ImageOps.mirror(image), "WEBP")),
    ):
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(decoded(data, 1), read_image(tmp_path / name)), name


FLOATS = encoded(Image.new("F", (9, 9)), "TIFF")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("text.jpg", b"no picture", "is not a picture that can be read; give JPEG, PNG"),
        ("page.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        ("wide.png", bomb(2_000), "2000 x 2000 pixels; give one of up to 1 megapixels"),
        ("bomb.png", bomb(50_000), "too many pixels; give one of up to 1 megapixels"),
        ("cut.png", bomb(100), "damaged or cut short"),
        ("floats.tif", FLOATS, "that was sent holds 32-bit numbers of unknown range"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_what_is_refused_is_a_sentence(name: str, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        decoded(data, 1)
    assert "\n" not in str(refused.value)


def many_scans(count: int, between: bytes = b"") -> bytes:
    """A progressive JPEG of grey whose last scan comes `count` times more: some bytes each."""
    whole = encoded(Image.new("L", (900, 900), 77), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + (between + last) * count + whole[-2:]


def test_a_small_file_does_not_keep_a_thread_for_hours(picture: Path) -> None:
    image = Image.open(picture)
    assert scans(encoded(image, "JPEG")) == 1
    usual = scans(encoded(image, "JPEG", progressive=True))
    assert 5 < usual < 20 and scans(many_scans(20)) == 20 + scans(many_scans(0))
    assert decoded(many_scans(20), 1).shape == (900, 900, 3)
    # Parts without a length, and others that hold what looks like an end, do not hide them.
    comment = b"\xff\xfe\x00\x08" + b"\xff\xd9\xff\xda" + bytes(2)
    for between in (b"", b"\xff\x01", b"\xff\xd0", b"\xff\xff", comment):
        with pytest.raises(InputError, match="more than 50 scans"):
            decoded(many_scans(60, between), 1)
    # What stands behind the picture, as the film of a telephone's, is none of it.
    behind = encoded(image, "JPEG") + b"\xff\xda\x00\x02" * 100
    assert scans(behind) == 1 and decoded(behind, 1).dtype == np.uint8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damaged_files_are_refused_or_read(picture: Path, kind: str) -> None:
    """Pillow raises a dozen types for them."""
    whole = encoded(Image.open(picture), kind)
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, min(len(data), 400), 6):
            data[place] = random.integers(256)
        try:
            assert decoded(data, 1).dtype == np.uint8
        except InputError as error:
            assert "picture" in str(error) or "image" in str(error)


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = encoded(Image.new("RGB", (1001, 1000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="1001 x 1000 pixels"):
        decoded(large, 1)


def test_nobody(predictor: PosePredictor, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "detector", lambda picture: [])
    given = answer(predictor, picture.read_bytes(), 1)
    assert given["words"] == "Nobody was found in the picture." and given["heatmaps"] == []
    assert given["people"]["people"] == []
    assert np.array_equal(pixels(given["drawing"]), read_image(picture))
