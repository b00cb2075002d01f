"""Writes tiny datasets with the folders and files of the official releases."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io


def struct(**fields: Any) -> np.ndarray:
    """A 1 x 1 MATLAB struct, its fields given as scipy.io.loadmat would return them."""
    array = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        array[name][0, 0] = value
    return array


def struct_array(items: Sequence[np.ndarray]) -> np.ndarray:
    """1 x N struct array of structs whose fields differ; absent ones become [], as in MATLAB."""
    names = list(dict.fromkeys(name for item in items for name in item.dtype.names or ()))
    array = np.empty((1, len(items)), [(name, object) for name in names])
    for i, item in enumerate(items):
        for name in names:
            given = name in (item.dtype.names or ())
            array[name][0, i] = item[name][0, 0] if given else np.empty((0, 0))
    return array


def picture(path: Path, width: int = 120, height: int = 90, seed: int = 0) -> None:
    """A smooth coloured picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def point(id: int, x: float, y: float, **extra: Any) -> np.ndarray:
    return struct(x=x, y=y, id=id, **extra)


def rect(points: Sequence[np.ndarray] | None, x: float = 60, y: float = 40, scale: float = 0.3,
         head: Sequence[float] | None = (50, 10, 70, 35)) -> np.ndarray:  # fmt: skip
    """An `annorect` with the fields of a usual one; None leaves a part out."""
    fields: dict[str, Any] = {"scale": scale, "objpos": struct(x=x, y=y)}
    if points is not None:
        fields["annopoints"] = struct(point=struct_array(points))
    if head is not None:
        fields.update(zip(("x1", "y1", "x2", "y2"), head, strict=True))
    return struct(**fields)


def write_mpii(
    root: Path,
    images: Sequence[tuple[str, Sequence[np.ndarray] | None, int]],
    single: Sequence[Sequence[int]] | None = None,
) -> Path:
    """`mpii_human_pose_v1_u12_1.mat` and images: (name, people or None for [], in training)."""
    entries = [
        struct(
            image=struct(name=name),
            annorect=np.empty((0, 0)) if people is None else struct_array(people),
            frame_sec=np.empty((0, 0)),
            vididx=np.empty((0, 0)),
        )
        for name, people, _ in images
    ]
    cells = np.empty((len(images), 1), object)
    for i in range(len(images)):
        listed = single[i] if single else range(1, 1 + len(images[i][1] or ()))
        cells[i, 0] = np.array(list(listed), np.uint8).reshape(-1, 1)
    release = struct(
        annolist=struct_array(entries),
        img_train=np.array([[training for _, _, training in images]], np.uint8),
        version="12",
        single_person=cells,
    )
    for i, (name, _, _) in enumerate(images):
        picture(root / "images" / name, seed=i)
    scipy.io.savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return root


def write_flic(root: Path, count: int = 4, **changes: Any) -> Path:
    """`examples.mat` and images; the first half is for training."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(count):
        coords = np.full((2, 29), np.nan)
        coords[:, [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]] = rng.uniform(20, 80, (2, 11))
        name = f"{i:05d}-film-{i:08d}.jpg"
        picture(root / "images" / name, seed=i)
        values: dict[str, Any] = {
            "poselet_hit_idx": 1.0,
            "moviename": "film",
            "coords": coords,
            "filepath": name,
            "imgdims": np.array([[90, 120, 3]], np.uint16),
            "currframe": float(i),
            "torsobox": np.array([[41.0, 31.0, 61.0, 61.0]]),
            "istrain": np.uint8(i < count // 2),
            "istest": np.uint8(i >= count // 2),
        }
        examples.append(struct(**{**values, **changes}))
    scipy.io.savemat(root / "examples.mat", {"examples": struct_array(examples)})
    return root


KEYPOINTS = ["nose", "left_hand", "right_hand"]


def spread(count: int) -> list[int]:
    """Key points of as many joints, each in a place of its own."""
    return [number for i in range(count) for number in (4 + i % 8, 5 + i // 8, 2)]


def coco(people: Sequence[dict[str, Any]], images: int = 2) -> dict[str, Any]:
    """COCO's object with three key points, each person completed by what is usual."""
    usual = {"image_id": 10, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 40, 60]}
    return {
        "images": [
            {"id": 10 + i, "file_name": f"{i:012d}.jpg", "width": 120, "height": 90}
            for i in range(images)
        ],
        "annotations": [{"id": 100 + i, **usual, **person} for i, person in enumerate(people)],
        "categories": [
            {"id": 1, "name": "Doll", "keypoints": KEYPOINTS, "skeleton": [[1, 2], [1, 3]]},
            {"id": 2, "name": "chair"},
        ],
    }


def write_coco(path: Path, contents: dict[str, Any], folder: str = "images") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(contents["images"]):
        picture(path.parent.parent / folder / image["file_name"], seed=i)
    path.write_text(json.dumps(contents), encoding="utf-8")
    return path
