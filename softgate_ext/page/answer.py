"""From the bytes of an image to the answer of the page: checks, prediction and drawings, without HTTP."""

import base64
import io
import re
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from softgate_ext.data.images import upright_rgb
from softgate_ext.data.raw_files import CONVERT, HEAD, is_raw
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.png import png_bytes
from softgate_ext.prediction.predict import draw_people
from softgate_ext.prediction.predictor import PersonDetails, PosePredictor

Drawing = npt.NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SIDE = 256  # side of a heatmap drawn over its crop, in pixels
LARGEST = 1600  # the largest longer side of the returned drawing, in pixels
SCANS = 50  # the most scans of a JPEG. Ten are usual; each one is a pass over all pixels
MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])")  # a JPEG marker that a length may follow


def decoded(data: bytes | bytearray, megapixels: float) -> Drawing:
    """Decodes the file of an image to (H, W, 3) uint8 RGB, upright.

    Args:
        data: the bytes of the file.
        megapixels: the most that the image may have. This is checked before decoding, because few bytes
            may decode to gigabytes.

    Raises:
        InputError: with a message for the page, if it is not a whole image within that size.
    """
    most = f"give one of up to {megapixels:g} megapixels"
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise InputError(f"the picture has too many pixels; {most}") from None
    except Exception:  # Pillow raises a dozen types for damaged files
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise InputError(f"the file is not a picture that can be read; give {kinds}") from None
    if is_raw(bytes(data[:HEAD]), image):
        raise InputError(f"the file is a raw file of a camera, which is not read; {CONVERT}")
    width, height = image.size
    if width * height > megapixels * 1e6:
        raise InputError(f"the picture has {width} x {height} pixels; {most}")
    if image.format in ("JPEG", "MPO") and scans(data) > SCANS:
        raise InputError(f"the picture has more than {SCANS} scans; give one of fewer")
    try:
        image.load()
        return upright_rgb(image, "that was sent")
    except (InputError, MemoryError):
        raise
    except Exception:
        raise InputError("the picture is damaged or cut short; give a whole one") from None


def scans(data: bytes | bytearray) -> int:
    """The number of scans of the first image in a JPEG file."""
    at = count = 0
    while (found := MARKER.search(data, at)) and found[1] != b"\xd9":  # end of image
        at = found.end()
        if found[1] != b"\xd8":  # start of image, which has no length
            count += found[1] == b"\xda"
            at += int.from_bytes(data[at : at + 2])
    return count


def answer(predictor: PosePredictor, data: bytes | bytearray, megapixels: float) -> dict[str, Any]:
    """The answer of the page to the file of an image.

    Args:
        predictor: finds the poses.
        data: the bytes of the file.
        megapixels: as in `decoded`.

    Returns:
        `words`, a sentence; `drawing`, the image with the poses; `heatmaps` of the first person, each
        with its `joint` and `score`; `people`, the numbers as `softgate predict` writes them. Images
        are PNG in base64.

    Raises:
        InputError: as in `decoded`.
    """
    picture = decoded(data, megapixels)
    height, width = picture.shape[:2]
    looks = predictor.predict_with_heatmaps(predictor.locate(picture))
    people = [look.person for look in looks]
    words = "Nobody was found in the picture."
    if people:
        words = f"{counted(len(people), '[person|people]')} in {width} x {height} pixels"
        if looks[0].heatmaps is not None:  # a network without heatmaps gives no meaningful scores
            words += f"; mean score of the joints {np.mean(people[0].scores):.2f}"
        words += "."
    scale = min(1.0, LARGEST / max(height, width))
    drawing = draw_people(picture, people, predictor.skeleton)
    if scale < 1:
        size = max(1, round(scale * width)), max(1, round(scale * height))
        smaller = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
        drawing = smaller.astype(np.uint8, copy=False)
    return {
        "words": words,
        "drawing": png(drawing),
        "heatmaps": [] if not looks else heatmaps(looks[0]),
        "people": {
            "width": width,
            "height": height,
            "skeleton": predictor.skeleton.name,
            "people": [person.to_json() for person in people],
        },
    }


def heatmaps(look: PersonDetails) -> list[dict[str, Any]]:
    """The heatmap of each joint over the crop, with the joint's name and score.

    The list is empty for a network without heatmaps.
    """
    if look.heatmaps is None:
        return []
    crop = cv2.resize(look.crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    rows = zip(look.person.names, look.person.scores, look.heatmaps, strict=True)
    return [
        {"joint": name, "score": round(float(score), 4), "png": png(glowing(crop, heatmap))}
        for name, score, heatmap in rows
    ]


def glowing(crop: npt.NDArray[Any], heatmap: npt.NDArray[np.float32]) -> Drawing:
    """A heatmap over the darkened crop, (H, W, 3) uint8.

    Brightness is relative to the highest value of the heatmap, so that the peak of a joint with a low
    score is visible too.
    """
    values = np.clip(heatmap / max(float(heatmap.max()), 1e-6), 0, 1)
    share = cv2.resize(values, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    glow = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return (0.55 * crop * (1 - share) + glow[..., ::-1] * share).astype(np.uint8)


def png(picture: Drawing) -> str:
    """An image (H, W, 3) uint8 RGB as PNG in base64."""
    return base64.b64encode(png_bytes(picture)).decode()
