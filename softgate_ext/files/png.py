"""Pictures as PNG."""

from pathlib import Path

import cv2
import numpy as np

from softgate_ext.files.atomic import write_bytes


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a uint8 H x W x 3 RGB picture as PNG, at once."""
    write_bytes(path, png_bytes(picture))


def png_bytes(picture: np.ndarray) -> bytes:
    """A uint8 H x W x 3 RGB picture as PNG; raises RuntimeError where OpenCV cannot encode it."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError(f"OpenCV cannot encode a picture of {picture.shape} as PNG")
    return data.tobytes()
