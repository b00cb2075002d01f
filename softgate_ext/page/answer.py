"""What the page takes, and what it shows of it; knows nothing of the page itself."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.prediction.predict import draw_people
from softgate_ext.prediction.predictor import PersonDetails, PosePredictor

Drawing = npt.NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SIDE = 256  # of a heatmap drawn over its crop, pixels
LARGEST = 1600  # longer side of the drawing that is sent back, pixels


@dataclass(frozen=True)
class Limits:
    """What a picture may be.

    Attributes:
        megabytes: of the file.
        megapixels: of the picture, known before it is decoded: a file of few bytes may unfold to
            gigabytes.
    """

    megabytes: float
    megapixels: float

    def check(self, path: Path) -> None:
        """Raises InputError, with a sentence for the page, where a file is not to be decoded."""
        size = path.stat().st_size / 1e6
        if size > self.megabytes:
            raise InputError(
                f"the file has {size:.1f} megabytes; give one of up to {self.megabytes:g}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=FORMATS) as image:
                    width, height = image.size
        except Image.DecompressionBombError:
            raise InputError(
                f"the picture has too many pixels; give one of up to {self.megapixels:g} megapixels"
            ) from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            names = ", ".join(FORMATS[:-1])
            raise InputError(
                f"the file is not a picture that can be read; give {names} or {FORMATS[-1]}"
            ) from None
        if width * height > self.megapixels * 1e6:
            raise InputError(
                f"the picture has {width} x {height} pixels; give one of up to "
                f"{self.megapixels:g} megapixels"
            )


@dataclass(frozen=True)
class Answer:
    """What the page shows.

    Attributes:
        words: a sentence.
        drawing: the picture with the poses, or None where there is none.
        heatmaps: each joint's, over the crop of the first person, with its name and score.
        people: the figures, as `softgate predict` writes them, or None.
    """

    words: str
    drawing: Drawing | None = None
    heatmaps: list[tuple[Drawing, str]] = field(default_factory=list)
    people: dict[str, Any] | None = None


def answer(predictor: PosePredictor, path: Path, limits: Limits) -> Answer:
    """The poses in an uploaded file; a file that is refused is answered with a sentence."""
    try:
        limits.check(path)
        picture = read_image(path)
    except InputError as error:
        # A server's paths are nobody's business.
        return Answer(str(error).replace(str(path), path.name))
    found = predictor.predict_with_heatmaps(predictor.locate(picture))
    height, width = picture.shape[:2]
    people = {
        "file": path.name,
        "width": width,
        "height": height,
        "skeleton": predictor.skeleton.name,
        "people": [look.person.to_json() for look in found],
    }
    if not found:
        return Answer("Nobody was found in the picture.", _fitted(picture), [], people)
    drawing = draw_people(picture, (look.person for look in found), predictor.skeleton)
    sure = float(np.mean(found[0].person.scores))
    count = "1 person" if len(found) == 1 else f"{len(found)} people"
    words = f"{count} in {width} x {height} pixels; mean score of the joints {sure:.2f}."
    return Answer(words, _fitted(drawing), draw_heatmaps(found[0]), people)


def draw_heatmaps(look: PersonDetails) -> list[tuple[Drawing, str]]:
    """Each joint's heatmap, glowing over the darkened crop, with the joint's name and score.

    Brightness is relative to the highest value of that map, so that an unsure joint shows where
    the network looked; the score tells how sure it was.
    """
    crop = cv2.resize(look.crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    drawn = []
    for name, score, heatmap in zip(
        look.person.names, look.person.scores, look.heatmaps, strict=True
    ):
        values = np.clip(heatmap / max(float(heatmap.max()), 1e-6), 0, 1)
        values = cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        glow = cv2.applyColorMap((255 * values).astype(np.uint8), cv2.COLORMAP_INFERNO)
        share = values[..., None]
        mixed = 0.55 * crop * (1 - share) + cv2.cvtColor(glow, cv2.COLOR_BGR2RGB) * share
        drawn.append((mixed.astype(np.uint8), f"{name.replace('_', ' ')}  {float(score):.2f}"))
    return drawn


def _fitted(drawing: Drawing) -> Drawing:
    scale = LARGEST / max(drawing.shape[:2])
    if scale >= 1:
        return drawing
    smaller = cv2.resize(drawing, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return smaller.astype(np.uint8, copy=False)
