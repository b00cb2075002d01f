"""Reading picture files, with one clear error where a file is not a whole picture."""

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
    0x0112  # EXIF tag; 5 to 8 exchange width and height, and what is beyond means nothing
)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
"""What is opened as a picture, by Pillow's names, whatever a file is called. Not all that Pillow
opens: some of it runs other programs (PostScript), some has no beginning to be known by (TGA)."""


def picture_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that Pillow reads here: it knows HEIF once a package has registered it."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_image(path: Path | str) -> npt.NDArray[np.uint8]:
    """Picture as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Pillow, not `cv2.imread`: the latter fills the missing part of a truncated JPEG with grey and
    says nothing. Grey of 16 bits is scaled by 1/257, which takes 65535 to 255.

    Raises:
        InputError: The file is missing, not a picture, cut short, a camera's raw file, of more
            pixels than Pillow decodes or memory holds, or of numbers without a known range (32-bit
            integers or floats).
    """
    with _opened(path) as image:
        image.load()
        return upright_rgb(image, path)


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """A picture's file; raises InputError in place of all that Pillow raises while it is open."""
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
    except Exception as error:  # what Pillow raises for a damaged file has a dozen types
        if not os.path.lexists(path):  # also of a name that no file can have
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
    """A loaded Pillow image as `read_image` gives it; `source` names it in the message.

    Raises:
        InputError: It holds numbers without a known range.
    """
    upright = ImageOps.exif_transpose(image)
    mode = upright.mode
    # Pillow before 11.3 opens 16-bit PNG as mode I.
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
    """(width, height) that `read_image` will give, from the picture's header alone.

    Raises:
        InputError: The file is missing, not a picture, a camera's raw file, or of more pixels than
            Pillow decodes.
    """
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _exchanged(image) else (width, height)


def page_count(path: Path) -> int:
    """Pages of a TIFF, of which `read_image` reads the first; 1 of other files and damaged ones."""
    try:
        if unusual(path):
            return 1
        with Image.open(path, formats=("TIFF",)) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # what Pillow raises for a damaged file has a dozen types
        return 1


def is_sideways(path: Path) -> bool:
    """Whether the EXIF orientation of a picture exchanges width and height.

    Raises:
        InputError: As `image_size`.
    """
    with _opened(path) as image:
        return _exchanged(image)


def _exchanged(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in range(5, 9)


def _too_large(path: Path | str, error: Image.DecompressionBombError) -> InputError:
    """Pillow opens no such file, so that the count of its pixels is in the message alone."""
    pixels, most = (int(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
    return InputError(f"image {path} has {pixels:.0f} megapixels; takes up to {int(most)}")
