"""Pictures as PNG."""

from pathlib import Path

import cv2
import numpy as np

from softgate_ext.files.atomic import write_bytes


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a uint8 H x W x 3 RGB picture as PNG, at once."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV encodes any uint8 picture as PNG"
    write_bytes(path, data.tobytes())
