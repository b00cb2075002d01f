"""Reading picture files, with one clear error where a file is not a whole picture."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from softgate_ext.errors import InputError

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
        InputError: The file is missing, not a picture, cut short, of more pixels than Pillow
            decodes, or of numbers without a known range (32-bit integers or floats).
    """
    try:
        with Image.open(path, formats=picture_formats()) as image:
            image.load()
            return upright_rgb(image, path)
    except FileNotFoundError:
        raise InputError(f"image {path} does not exist; it must be a picture") from None
    except UnidentifiedImageError:
        raise InputError(
            f"image {path} is not a picture that can be read; it must be a JPEG, PNG or the like"
        ) from None
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"image {path} is damaged or cut short ({error}); it must be whole"
        ) from None


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
        InputError: The file is missing, not a picture, or of more pixels than Pillow decodes.
    """
    try:
        with Image.open(path, formats=picture_formats()) as image:
            width, height = image.size
            return (height, width) if _exchanged(image) else (width, height)
    except FileNotFoundError:
        raise InputError(f"image {path} does not exist") from None
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from None
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"image {path} is not a picture that can be read") from None


def is_sideways(path: Path) -> bool:
    """Whether the EXIF orientation of a picture that can be read exchanges width and height."""
    with Image.open(path, formats=picture_formats()) as image:
        return _exchanged(image)


def _exchanged(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in range(5, 9)


def _too_large(path: Path | str, error: Image.DecompressionBombError) -> InputError:
    """Pillow opens no such file, so that the count of its pixels is in the message alone."""
    pixels, most = (int(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
    return InputError(f"image {path} has {pixels:.0f} megapixels; takes up to {int(most)}")
