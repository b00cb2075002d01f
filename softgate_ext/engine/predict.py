"""Pictures in, overlays and predictions.json out."""

import glob
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softgate_ext.data.images import read_image
from softgate_ext.engine.config import PredictConfig
from softgate_ext.engine.files import make_folder, read_json, write_json
from softgate_ext.engine.plots import write_png
from softgate_ext.engine.predictor import Person, PosePredictor, check_box, shortened
from softgate_ext.errors import InputError
from softgate_ext.pose.draw import draw_pose

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The image files that paths, folders and glob patterns stand for, each once.

    Raises:
        InputError: there is no pattern, or one stands for nothing or cannot be looked up.
    """
    if not patterns:
        raise InputError("images: got none; give files, folders, patterns")
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        try:
            if path.is_dir():
                files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            else:
                files = [path] if path.is_file() else sorted(map(Path, glob.glob(pattern)))
        except OSError as error:
            raise InputError(
                f"images: cannot look up {shortened(pattern)} ({error.strerror}); "
                "give files, folders, patterns"
            ) from None
        if not files:
            raise InputError(
                f"images: {pattern} stands for no image; give files, folders, patterns"
            )
        found.update(dict.fromkeys(files))
    return list(found)


def read_boxes(path: Path) -> list[tuple[Path, Any]]:
    """File and box of each entry of a JSON list of {"file", "bbox_xywh"}.

    Raises:
        InputError: the file is something else.
    """
    entries = read_json(path)
    try:
        return [(Path(entry["file"]), entry["bbox_xywh"]) for entry in entries]
    except (TypeError, KeyError, AttributeError):
        raise InputError(
            f'boxes: {path} is not a list of {{"file", "bbox_xywh"}} entries'
        ) from None


def predict(config: PredictConfig) -> list[Path]:
    """Writes an overlay for each picture and predictions.json; returns the overlays.

    Every picture is read and every box checked before the first file is written, and the files
    appear when all of them are done.

    Raises:
        InputError: the run, a picture, a box or the output folder cannot be used, a picture has
            no entry in `boxes`, or a file to write is one of those to read.
    """
    if config.box is not None and config.boxes is not None:
        raise InputError("box and boxes: got both; give one of them")
    images = find_images(config.images)
    boxes: list[list[Any] | None]
    if config.boxes is None:
        boxes = [None if config.box is None else [config.box]] * len(images)
    else:
        listed = read_boxes(config.boxes)
        boxes = [_boxes_of(image, listed, config.boxes) for image in images]
    overlays: list[Path] = []
    for image in images:
        overlays.append(_free_name(config.out / f"{image.stem}.png", overlays))
    summary = config.out / "predictions.json"
    _keep_inputs([*images, *([config.boxes] if config.boxes else [])], [*overlays, summary])
    predictor = PosePredictor.from_pretrained(
        config.run, config.weights, config.device, config.amp, config.flip_test
    )
    for image, asked in zip(images, boxes, strict=True):
        height, width = read_image(image).shape[:2]
        for box in asked or ():
            check_box(box, width, height)

    make_folder(config.out)
    try:
        with tempfile.TemporaryDirectory(prefix=".predict.", dir=config.out) as scratch:
            entries = [
                _predict_one(predictor, image, asked, Path(scratch) / overlay.name, config)
                for image, asked, overlay in zip(images, boxes, overlays, strict=True)
            ]
            about = {
                "run": str(config.run),
                "weights": config.weights,
                "model": predictor.config.model["name"],
                "skeleton": predictor.skeleton.name,
                "flip_test": config.flip_test,
            }
            write_json(Path(scratch) / summary.name, {**about, "images": entries})
            for path in (*overlays, summary):
                os.replace(Path(scratch) / path.name, path)
    except OSError as error:
        raise InputError(
            f"out: cannot write to {config.out} ({error.strerror}); "
            "give a folder that can be written to"
        ) from None
    return overlays


def _predict_one(
    predictor: PosePredictor,
    image: Path,
    boxes: list[Any] | None,
    overlay: Path,
    config: PredictConfig,
) -> dict[str, Any]:
    """Writes the overlay of a picture; returns its entry in predictions.json."""
    picture = read_image(image)
    people = predictor(picture, boxes)
    canvas = picture
    for person in people:
        canvas = draw_pose(
            canvas, person.joints, person.scores, predictor.skeleton, config.min_score
        )
    write_png(overlay, canvas)
    return {
        "file": str(image),
        "overlay": overlay.name,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "people": [_person_to_json(p, predictor.skeleton.joints) for p in people],
    }


def _keep_inputs(read: Sequence[Path], written: Sequence[Path]) -> None:
    """Raises InputError where a file to write is one of those to read."""
    inputs = {path.resolve() for path in read}
    for path in written:
        if path.resolve() in inputs:
            raise InputError(f"out: {path} would overwrite an input; give another folder")


def _boxes_of(image: Path, listed: Sequence[tuple[Path, Any]], source: Path) -> list[Any]:
    """The boxes that the list `source` holds for a picture.

    A file there is a path seen from the working folder or from the list's own, or the end of a
    path ("im0001.jpg", "images/im0001.jpg").

    Raises:
        InputError: it holds none.
    """
    paths = {image.absolute(), image.resolve()}

    def names(file: Path) -> bool:
        if {file.resolve(), (source.parent / file).resolve()} & paths:
            return True
        ends = not file.is_absolute() and bool(file.parts) and ".." not in file.parts
        return ends and any(path.parts[-len(file.parts) :] == file.parts for path in paths)

    own = [value for file, value in listed if names(file)]
    if not own:
        raise InputError(f"boxes: {source} has no entry for {image}; give each picture a box")
    return own


def _free_name(path: Path, taken: Sequence[Path]) -> Path:
    """`path`, or with -2, -3, ... after the stem where pictures of two folders share a name."""
    name, number = path, 1
    while name in taken:
        number += 1
        name = path.with_stem(f"{path.stem}-{number}")
    return name


def _person_to_json(person: Person, names: Sequence[str]) -> dict[str, Any]:
    rows = zip(names, person.joints, person.scores, strict=True)
    return {
        "box_xywh": list(person.box),
        "joints": {
            name: {"x": round(float(x), 3), "y": round(float(y), 3), "score": round(float(s), 4)}
            for name, (x, y), s in rows
        },
    }
