"""Cached crops: larger and finer than the network's crops, made once so that loading is fast."""

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.images import read_image
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError, reason
from softgate_ext.files.arrays import npz_arrays
from softgate_ext.files.paths import real_path
from softgate_ext.pose.geometry import crop_affine, invert_affine, reduce_region

Image = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

VERSION = 1  # increased whenever the same request would give other pixels
DENSITY = 1.25
"""Cached pixels per pixel of the network's crop. A person who is magnified by a quarter stays sharp,
and `warp` does not need to average, which it does below a scale of 0.8."""
INDEX, PIXELS = "index.npz", "pixels.bin"


@dataclass(frozen=True)
class CropGeometry:
    """The part of an image that is cached for each sample.

    Attributes:
        image_size: side of the network's crop in pixels.
        room: side of the cached square over the side of the crop without augmentation.
    """

    image_size: int
    room: float = 1.0

    @classmethod
    def of(cls, image_size: int, augment: Augmentation | None = None) -> "CropGeometry":
        """The geometry that covers every crop that `augment` can ask for."""
        if augment is None:
            return cls(image_size)
        turn = math.radians(min(augment.rotation, 45.0))
        return cls(image_size, (math.cos(turn) + math.sin(turn)) / (1 - augment.scale))

    def cut(self, image: Image, center: npt.ArrayLike, size: float) -> tuple[Image, Matrix]:
        """Cuts the cached part out of an image.

        Nothing outside of the image is cached, and nothing is enlarged.

        Args:
            image: (H, W, 3) uint8.
            center: (2,), centre of the crop, in source pixels.
            size: side of the crop, in source pixels.

        Returns:
            The part, (h, w, 3) uint8, and the (2, 3) matrix from source pixels to its pixels.
        """
        side = math.ceil(self.image_size * self.room)
        whole = crop_affine(np.asarray(center, np.float64), size * side / self.image_size, side)
        shrink = min(1.0, DENSITY * self.image_size / size)
        pixels, to_crop = reduce_region(image, whole, side, shrink)
        return pixels, compose(invert_affine(to_crop), whole)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The (2, 3) matrix of the map `first` followed by `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def fingerprints(people: PoseSet, geometry: CropGeometry) -> tuple[str, str]:
    """Hashes of the requested crops, and of the contents that they are made from.

    Returns:
        A hash of the image paths and the geometry; and a hash that also covers the sizes and
        modification times of the files, and the positions of the crops.

    Raises:
        InputError: an image does not exist.
    """
    asked, contents = hashlib.sha256(), hashlib.sha256()
    asked.update(json.dumps([VERSION, DENSITY, geometry.image_size, geometry.room]).encode())
    for path in people.image_paths:
        asked.update(f"{real_path(path)}\0".encode(errors="surrogateescape"))
    contents.update(asked.digest())
    for path in dict.fromkeys(people.image_paths):
        try:
            about = path.stat()
        except OSError:
            raise InputError(f"image {path} does not exist") from None
        contents.update(f"{about.st_size} {about.st_mtime_ns}\0".encode())
    contents.update(people.centers.tobytes() + people.sizes.tobytes())
    return asked.hexdigest(), contents.hexdigest()


class CropCache:
    """The cached crops of a pose set, memory-mapped so that processes share the memory.

    Args:
        folder: a folder with `pixels.bin`, which holds all crops one after another, and `index.npz`.

    Raises:
        InputError: a file is missing or not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = npz_arrays(folder / INDEX)
            self.shapes: npt.NDArray[np.int64] = index["shapes"]
            self.matrices: Matrix = index["matrices"]
            self.starts: npt.NDArray[np.int64] = index["starts"]
            # Mapping an empty file raises a ValueError.
            self.pixels = np.memmap(folder / PIXELS, np.uint8, "r")
        except Exception as error:  # NumPy, zipfile and zlib raise a dozen types
            raise InputError(f"crops in {folder} cannot be read ({reason(error)})") from None
        if len(self.pixels) != 3 * self.shapes.prod(1).sum():
            raise InputError(f"crops in {folder} are incomplete")

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> tuple[Image, Matrix]:
        """The pixels (h, w, 3) of a sample, and the (2, 3) matrix from source pixels to them."""
        height, width = self.shapes[index].tolist()
        start = self.starts[index]
        return np.asarray(self.pixels[start : start + 3 * height * width]).reshape(
            height, width, 3
        ), self.matrices[index]

    # A spawned worker process opens the files itself, because pickling would copy all pixels.
    def __reduce__(self) -> tuple[type["CropCache"], tuple[Path]]:
        return CropCache, (self.folder,)


def write_crops(
    folder: Path,
    people: PoseSet,
    geometry: CropGeometry,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Writes the crops of `people` into an empty folder. Each image is decoded once.

    Args:
        folder: an existing folder.
        people: the samples.
        geometry: the part of the image to cache for each sample.
        threads: number of images that are decoded at the same time.
        progress: called with the number of samples that are done.

    Raises:
        InputError: an image is missing or damaged.
        OSError: the files cannot be written.
    """
    together: defaultdict[Path, list[int]] = defaultdict(list)
    for index, path in enumerate(people.image_paths):
        together[path].append(index)
    pictures = list(together.items())

    def cut(item: tuple[Path, list[int]]) -> list[tuple[int, Image, Matrix]]:
        path, several = item
        image = read_image(path)
        return [
            (i, *geometry.cut(image, people.centers[i], float(people.sizes[i]))) for i in several
        ]

    shapes = np.zeros((len(people), 2), np.int64)
    matrices = np.zeros((len(people), 2, 3))
    starts = np.zeros(len(people), np.int64)  # samples of one image may not be neighbours
    done = 0
    with open(folder / PIXELS, "wb") as file, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(pictures), 32 * threads):  # limits the crops in memory
            for found in pool.map(cut, pictures[start : start + 32 * threads]):
                for index, pixels, matrix in found:
                    starts[index] = file.tell()
                    shapes[index], matrices[index] = pixels.shape[:2], matrix
                    file.write(np.ascontiguousarray(pixels).data)
                    done += 1
            if progress is not None:
                progress(done)
        file.flush()
        os.fsync(file.fileno())
    with open(folder / INDEX, "wb") as file:
        np.savez(file, shapes=shapes, matrices=matrices, starts=starts)
        file.flush()
        os.fsync(file.fileno())
