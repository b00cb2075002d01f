from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from softgate_ext.data.images import image_size, read_image
from softgate_ext.errors import InputError


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
