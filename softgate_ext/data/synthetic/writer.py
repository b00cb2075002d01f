"""Writing of a dataset of drawn people in the official layout of Leeds Sports Pose."""

import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from softgate_ext.data.synthetic.scene import draw_person
from softgate_ext.errors import InputError
from softgate_ext.files.paths import real_path
from softgate_ext.ranges import check_range

_VERSION = 1  # increased whenever the same request would draw different people
_REQUEST = "drawn.json"


def draw_people(
    folder: Path | str,
    count: int,
    seed: int = 0,
    image_size: int = 180,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes `images/im0001.jpg`, ... and `joints.mat`, (3, 14, count), with 1 for occluded in row 3.

    The same request draws the same people. Person i depends on the seed and i alone, so that a larger
    count starts with the people of a smaller one. The folder appears when it is complete. A folder that
    the same request wrote before is not written again.

    Args:
        folder: the folder to create, which `read_lsp` reads.
        count: number of people, 2 to 9999; half are for training, half for testing.
        seed: the seed, not negative.
        image_size: longer side of an average image in pixels.
        progress: called after each image with the number of images that are drawn.

    Returns:
        `folder` as a path.

    Raises:
        InputError: a value is out of range; or `folder` already holds something else, is the working
            folder, or cannot be written.
    """
    folder = Path(folder)
    check_range("count", count)
    check_range("seed", seed)
    if not 64 <= image_size <= 2048:
        raise InputError(f"image_size must be between 64 and 2048 pixels, got {image_size}")
    request = {"count": count, "seed": seed, "image_size": image_size, "version": _VERSION}
    try:
        # If the folder is a link, the folder that it points to is written.
        target = real_path(folder)
        if not _is_written(target, request):
            # The target is replaced by the finished folder, so the working folder would be lost.
            if target == Path.cwd():
                raise InputError(f"folder must not be the working folder, got {folder}")
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, request, progress)
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be written ({error.strerror or error}); give a new folder"
        ) from None
    return folder


def _write(target: Path, request: dict[str, int], progress: Callable[[int], None] | None) -> None:
    """Draws into a temporary folder beside `target`, and renames it when it is complete."""
    count = request["count"]
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:64]}.", dir=target.parent) as folder:
        scratch = Path(folder) / "people"
        (scratch / "images").mkdir(parents=True)
        joints = np.empty((3, 14, count))
        for i in range(count):
            random = np.random.default_rng((request["seed"], i))
            image, positions, hidden = draw_person(random, request["image_size"])
            joints[:2, :, i] = positions.T + 1
            joints[2, :, i] = hidden
            _write_jpeg(scratch / "images" / f"im{i + 1:04d}.jpg", image)
            if progress is not None:
                progress(i + 1)
        (scratch / _REQUEST).write_text(json.dumps(request) + "\n")
        (scratch / "joints.mat").write_bytes(_mat_file(joints))
        os.replace(scratch, target)


def _is_written(folder: Path, request: dict[str, int]) -> bool:
    """Whether the folder holds the result of this request.

    Raises:
        InputError: it holds anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / _REQUEST).read_text()) == request:
            return True
    except (OSError, ValueError):
        pass
    wanted = ", ".join(f"{name} {value}" for name, value in request.items())
    raise InputError(f"folder must be new or hold the people of {wanted}, got {folder}")


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    path.write_bytes(encoded.tobytes())


def _mat_file(joints: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"joints": joints})
    contents = buffer.getvalue()
    # The first 116 bytes are free text, in which scipy writes the date. They are replaced, so that the
    # folder does not differ from run to run.
    return b"MATLAB 5.0 MAT-file".ljust(116) + contents[116:]
