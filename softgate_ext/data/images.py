"""Reading of image files, with one clear error if a file is not a complete image."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from softgate_ext.data.raw_files import CONVERT, HEAD, is_raw
from softgate_ext.errors import InputError, reason
from softgate_ext.files.paths import unusual

_ORIENTATION = (
    0x0112  # EXIF tag; the values 5 to 8 exchange width and height, larger ones have no meaning
)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
"""The formats that are opened as images, by Pillow's names. Other formats of Pillow are left out: some
run other programs (PostScript), and some cannot be recognised by their first bytes (TGA)."""


def picture_formats() -> tuple[str, ...]:
    """The `FORMATS` that Pillow can read here. It reads HEIF if a package has registered it."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_image(path: Path | str) -> npt.NDArray[np.uint8]:
    """Reads an image as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Pillow is used and not `cv2.imread`, which fills the missing part of a truncated JPEG with grey
    without an error. 16-bit grey is scaled by 1/257, so that 65535 becomes 255.

    Raises:
        InputError: the file is missing, is not an image, is truncated, is a camera's raw file, has more
            pixels than Pillow decodes or memory holds, or has values without a known range (32-bit
            integers or floats).
    """
    with _opened(path) as image:
        image.load()
        return upright_rgb(image, path)


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """Opens an image file. All exceptions of Pillow while it is open become InputErrors."""
    if what := unusual(path):
        raise InputError(
            f"image {path} is {what}, which could keep the program waiting for ever; it must be a file"
        )
    try:
        with open(path, "rb") as file, _identified(file, path) as image:
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from None
    except MemoryError:
        raise InputError(
            f"image {path} needs more memory than there is; it must be smaller"
        ) from None
    except Exception as error:  # Pillow raises a dozen types for damaged files
        if not os.path.lexists(path):  # also true for a name that no file can have
            raise InputError(f"image {path!s:.500} does not exist; it must be a picture") from None
        raise InputError(
            f"image {path} is damaged or cut short ({reason(error)}); it must be whole"
        ) from None


def _identified(file: BinaryIO, path: Path | str) -> Image.Image:
    head = file.read(HEAD)
    file.seek(0)
    image = None
    try:
        image = Image.open(file, formats=picture_formats())
    except UnidentifiedImageError:
        if not is_raw(head, None, Path(path).suffix):
            raise InputError(
                f"image {path} is not a picture that can be read; it must be a JPEG, PNG or the like"
            ) from None
    if is_raw(head, image, Path(path).suffix):
        raise InputError(f"image {path} is a raw file of a camera, which cannot be read; {CONVERT}")
    assert image is not None
    return image


def upright_rgb(image: Image.Image, source: Path | str) -> npt.NDArray[np.uint8]:
    """A loaded Pillow image in the form of `read_image`; `source` is its name in messages.

    Raises:
        InputError: its values have no known range.
    """
    upright = ImageOps.exif_transpose(image)
    mode = upright.mode
    # Pillow before 11.3 opens a 16-bit PNG with the mode I.
    if mode.startswith("I;16") or (mode == "I" and upright.format == "PNG"):
        # Pillow's own conversion clips everything above 255.
        values = np.asarray(upright).astype(np.uint32)
        upright = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif mode in ("I", "F"):
        raise InputError(
            f"image {source} holds 32-bit numbers of unknown range (mode {mode}); "
            "give one of 8 or 16 bits"
        )
    return np.array(upright.convert("RGB"))


def image_size(path: Path | str) -> tuple[int, int]:
    """The (width, height) that `read_image` would give, read from the header of the image.

    Raises:
        InputError: the file is missing, is not an image, is a camera's raw file, or has more pixels than
            Pillow decodes.
    """
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _exchanged(image) else (width, height)


def page_count(path: Path) -> int:
    """The number of pages of a TIFF, of which `read_image` reads the first; 1 for other files."""
    try:
        if unusual(path):
            return 1
        with Image.open(path, formats=("TIFF",)) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # Pillow raises a dozen types for damaged files
        return 1


def is_sideways(path: Path) -> bool:
    """Whether the EXIF orientation of an image exchanges width and height.

    Raises:
        InputError: as in `image_size`.
    """
    with _opened(path) as image:
        return _exchanged(image)


def _exchanged(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in range(5, 9)


def _too_large(path: Path | str, error: Image.DecompressionBombError) -> InputError:
    """The error for an image with too many pixels; their number is only in Pillow's message."""
    pixels, most = (int(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
    return InputError(f"image {path} has {pixels:.0f} megapixels; takes up to {int(most)}")
