"""Writing of images as PNG."""

from pathlib import Path

import cv2
import numpy as np

from softgate_ext.files.atomic import write_bytes


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes an image (H, W, 3) uint8, RGB, as PNG, atomically."""
    write_bytes(path, png_bytes(picture))


def png_bytes(picture: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8, RGB, as the bytes of a PNG; RuntimeError if OpenCV cannot encode it."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError(f"OpenCV cannot encode a picture of {picture.shape} as PNG")
    return data.tobytes()
