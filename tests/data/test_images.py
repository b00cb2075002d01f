import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from softgate_ext.data.images import image_size, read_image
from softgate_ext.errors import InputError
from softgate_ext.page.answer import decoded
from softgate_ext.prediction.kinds import kind_of


@pytest.fixture
def photo(drawn: Path) -> bytes:
    return (drawn / "images" / "im0001.jpg").read_bytes()


def test_reads_rgb(tmp_path: Path) -> None:
    picture = np.zeros((5, 7, 3), np.uint8)
    picture[..., 0] = 200
    Image.fromarray(picture).save(tmp_path / "red.png")
    np.testing.assert_array_equal(read_image(tmp_path / "red.png"), picture)
    assert image_size(tmp_path / "red.png") == (7, 5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_colour_spaces_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8 and image.min() > 240


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), values)
    np.testing.assert_array_equal(
        read_image(tmp_path / f"deep{suffix}")[0], np.repeat([[0], [1], [128], [255]], 3, 1)
    )


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_of_unknown_range_are_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.full((4, 4), 7, kind)).save(tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"deep\.tif holds 32-bit numbers"):
        read_image(tmp_path / "deep.tif")


def test_exif_orientation_is_applied_and_counted_in_the_size(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.jpg", exif=exif)
    assert read_image(tmp_path / "phone.jpg").shape == (8, 4, 3)
    assert image_size(tmp_path / "phone.jpg") == (4, 8)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_leaves_the_picture_upright(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 4)).save(tmp_path / "odd.jpg", exif=exif)
    assert read_image(tmp_path / "odd.jpg").shape == (4, 8, 3)
    assert image_size(tmp_path / "odd.jpg") == (8, 4)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("suffix", [".jpg", ".png", "progressive.jpg"])
def test_a_truncated_picture_is_refused_by_name(
    tmp_path: Path, photo: bytes, share: float, suffix: str
) -> None:
    whole = tmp_path / f"whole{suffix}"
    whole.write_bytes(photo)
    if suffix != ".jpg":
        Image.open(whole, formats=["JPEG"]).save(whole, progressive=True)
    contents = whole.read_bytes()
    assert read_image(whole).size
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(contents[: int(share * len(contents))])
    with pytest.raises(InputError) as error:
        read_image(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_the_last_byte_of_a_jpeg_matters(tmp_path: Path, photo: bytes) -> None:
    """Where OpenCV returns a picture without a word."""
    path = tmp_path / "cut.jpg"
    path.write_bytes(photo[: len(photo) * 2 // 3])
    assert cv2.imread(str(path)) is not None
    for missing in (1, 2, 3, 40):
        path.write_bytes(photo[:-missing])
        with pytest.raises(InputError, match="damaged or cut short"):
            read_image(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"image .*gone\.jpg does not exist"):
            read(tmp_path / "gone.jpg")
        with pytest.raises(InputError, match=r"image .*text\.jpg is not a picture"):
            read(tmp_path / "text.jpg")
        with pytest.raises(InputError):
            read(tmp_path)


def test_a_picture_of_too_many_pixels_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (20_000, 10_000)).save(path, compress_level=1)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"large\.png has 200 megapixels; takes up to 178$"):
            read(path)


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("broken PNG file"), ValueError("bad box"), struct.error("unpack requires"),
        OverflowError("too large"), zlib.error("incorrect header"), EOFError(), KeyError(5),
        IndexError("out of range"), TypeError("no integer"), RuntimeError("Failed to decode"),
        AttributeError("no info"), ZeroDivisionError("division"), NotImplementedError("P7"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_pillow_raises_is_one_sentence(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 4)).save(tmp_path / "odd.png")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(
        InputError, match=r"odd\.png is damaged or cut short \(.+\); it must be whole"
    ):
        read_image(tmp_path / "odd.png")
    error = MemoryError()
    with pytest.raises(
        InputError, match=r"odd\.png needs more memory than there is; it must be sm"
    ):
        read_image(tmp_path / "odd.png")


def test_files_of_every_format_with_wrong_bytes_are_read_or_refused(
    tmp_path: Path, photo: bytes
) -> None:
    """Damaged AVIF is a RuntimeError, damaged EXIF a struct.error ..."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    (tmp_path / "whole.jpg").write_bytes(photo)
    picture = Image.open(tmp_path / "whole.jpg").resize((32, 24))
    refused = 0
    for suffix in ("jpg", "png", "webp", "bmp", "gif", "jp2", "ppm", "avif"):
        path = tmp_path / f"odd.{suffix}"
        picture.save(path, **({"exif": exif} if suffix in ("jpg", "png", "webp", "avif") else {}))
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            wrong = whole.copy()
            wrong[rng.integers(0, min(300, len(whole)), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(wrong.tobytes())
            for read in (read_image, image_size):
                try:
                    read(path)
                except InputError as error:
                    assert str(path) in str(error) and "\n" not in str(error)
                    refused += 1
    assert refused > 100


def tiff(path: Path, **tags: Any) -> Path:
    """A small TIFF, which is what Pillow sees of a raw file: its preview."""
    info = ImageFileDirectory_v2()
    for tag, value in tags.values():
        info[tag] = value
    Image.new("RGB", (16, 12)).save(path, format="TIFF", tiffinfo=info)
    return path


def raw_files(folder: Path) -> Iterator[Path]:
    yield tiff(folder / "a.nef")
    yield tiff(folder / "dng.tif", version=(50706, b"\1\4\0\0"))
    yield tiff(folder / "preview.tiff", kind=(254, 1), further=(330, 8))
    for name, head in (
        ("a.cr2", b"II*\0\x10\0\0\0CR\2\0"), ("b.jpg", b"II*\0\x10\0\0\0CR\2\0"),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1"), ("a.raf", b"FUJIFILMCCD-RAW 0201"),
        ("a.orf", b"IIRO\x08\0\0\0"), ("a.rw2", b"IIU\0\x18\0\0\0"), ("a.srf", b"SRF"),
    ):  # fmt: skip
        (folder / name).write_bytes(head + bytes(200))
        yield folder / name


def test_raw_files_of_cameras_are_to_be_converted(tmp_path: Path) -> None:
    for path in raw_files(tmp_path):
        assert kind_of(path) in ("picture", None)
        for read in (read_image, image_size):
            with pytest.raises(InputError) as error:
                read(path)
            assert str(error.value) == (
                f"image {path} is a raw file of a camera, which cannot be read; convert raw files of "
                "cameras (CR2, NEF, DNG ...) to JPEG, PNG or TIFF"
            )
    with pytest.raises(InputError, match="the file is a raw file of a camera"):
        decoded((tmp_path / "dng.tif").read_bytes(), 10)


def test_what_is_no_raw_file_is_read(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "photo.dng").write_bytes(photo)
    assert read_image(tmp_path / "photo.dng").size
    assert read_image(tiff(tmp_path / "a.tif", kind=(254, 0))).shape == (12, 16, 3)
    assert read_image(tiff(tmp_path / "b.tif", further=(330, 8))).shape == (12, 16, 3)
