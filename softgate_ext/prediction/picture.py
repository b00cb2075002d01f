"""The kinds of images that a predictor takes (file, array, Pillow image, tensor) as one kind."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from softgate_ext.data.images import read_image, upright_rgb
from softgate_ext.errors import InputError, reason

Picture: TypeAlias = str | Path | npt.NDArray[np.generic] | Image.Image | Tensor
TAKES = "takes a path, a Pillow image, an array (H, W, 3) or a tensor (3, H, W)"


def as_picture(image: Picture) -> npt.NDArray[np.uint8]:
    """The image as (H, W, 3) uint8, RGB.

    Args:
        image: the path of a file; a Pillow image of any mode; an array (H, W, 3), (H, W, 4) or
            (H, W); or a tensor (3, H, W), (4, H, W), (1, H, W) or (H, W) on any device. Values are
            uint8, or floats from 0 to 1. Three channels are RGB; a fourth, alpha, is dropped.

    Raises:
        InputError: the image has another type or shape, or cannot be read.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        try:
            image.load()
            return upright_rgb(image, "image")
        except (InputError, MemoryError):
            raise
        except Exception as error:  # Pillow raises a dozen types for damaged files
            raise InputError(
                f"image: got a Pillow image that is cut short ({reason(error)}); takes a whole one"
            ) from None
    if isinstance(image, Tensor):
        values = image.detach()
        if values.dtype is torch.bfloat16:
            values = values.float()
        array = values.cpu().numpy()
        return _eight_bits(array if array.ndim == 2 else np.moveaxis(array, 0, -1), image.shape)
    if isinstance(image, np.ndarray):
        return _eight_bits(image, image.shape)
    raise InputError(f"image: got {type(image).__name__}; {TAKES}")


def _eight_bits(values: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as (H, W, 3) uint8; `shape` is for the message."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or 0 in values.shape:
        raise InputError(f"image: got the shape {tuple(shape)}; {TAKES}")
    if values.dtype != np.uint8:
        if not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"image: got {values.dtype}; takes uint8, or floats from 0 to 1")
        low, high = float(np.min(values)), float(np.max(values))
        if not (low >= 0 and high <= 1):
            raise InputError(f"image: got floats from {low:g} to {high:g}; takes 0 to 1, or uint8")
        values = np.rint(np.asarray(values, np.float64) * 255.0).astype(np.uint8)
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    return np.ascontiguousarray(values[..., :3], dtype=np.uint8)
