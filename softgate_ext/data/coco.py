"""Key points in COCO's JSON form: COCO itself, and anybody's own data in that form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.data.images import require_images
from softgate_ext.data.jsonfile import image_folder, is_test_part
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split, check_split
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import COCO, Skeleton, name_skeleton

MARGIN = 1.25
"""Side of the crop over the longer side of the annotated box."""


def read_coco(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Read a JSON file with `images`, `annotations` and one category that has `keypoints`.

    The joints' names, lower case, and limbs are the category's; left and right are paired by the
    prefixes `left_` and `right_`. Coordinates are 0-based. Flag 0 is not labelled, 1 labelled and
    hidden, 2 visible. Crowds and people without a labelled joint are left out.

    The crop is a square of 1.25 times the longer side of `bbox`, about its middle.

    Args:
        path: The file; may be gzipped. Its images are in `images/` or in a folder called as the
            last part of its name (`val2017` for `person_keypoints_val2017.json`), beside it or
            one level up, unless its `file_name`s lead to them from there.
        split: The file is one part: "test" where its name says val or test, else "train".
        check_images: Whether a missing image is an error.

    Raises:
        InputError: The file or an image is missing, or its contents are not of this form.
    """
    path = Path(path)
    check_split(split)
    part = "test" if is_test_part(path) else "train"
    if split not in (part, "all"):
        raise EmptySplit(
            f"split {split!r} of {path} is empty: by its name all of it is {part!r}",
            f"{part!r} or 'all'",
        )
    contents = read_json(path)
    if not isinstance(contents, dict) or not {"images", "annotations"} <= set(contents):
        raise InputError(f"{path} must be an object with images, annotations and categories")
    try:
        category, skeleton = _skeleton(contents["categories"], path)
        names = {image["id"]: str(image["file_name"]) for image in contents["images"]}
        order = {key: index for index, key in enumerate(names)}
        people = list(_people(contents["annotations"], category, skeleton, names))
        notes = _left_out(contents["annotations"], category, len(people))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not in COCO's form ({type(error).__name__}: {error})"
        ) from None
    if not people:
        raise EmptySplit(f"split {split!r} of {path} is empty", notes=notes)
    images = [names[person["image_id"]] for person in people]
    folder = image_folder(path, images, [path.name.split(".")[0].split("_")[-1]])
    paths = [folder / name for name in images]
    if check_images:
        require_images(paths)
    values = np.array([person["keypoints"] for person in people])
    boxes = np.array([person["bbox"] for person in people])
    counts: dict[int, int] = {}
    places = []
    for person in people:
        image = order[person["image_id"]]
        places.append((image, counts.setdefault(image, 0)))
        counts[image] += 1
    labelled = values[..., 2] > 0
    return PoseSet(
        name=f"{path.name.split('.')[0]}-{split}",
        skeleton=skeleton,
        image_paths=paths,
        joints=np.where(labelled[..., None], values[..., :2], 0).astype(np.float32),
        labelled=labelled,
        visible=values[..., 2] > 1,
        centers=(boxes[:, :2] + (boxes[:, 2:] - 1) / 2).astype(np.float32),
        sizes=(MARGIN * boxes[:, 2:].max(1)).astype(np.float32),
        boxes=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32),
        areas=np.array([person["area"] for person in people], np.float32),
        ids=np.array([(person["image_id"], person["id"]) for person in people], object),
        persons=np.array(places, np.int64),
        sigmas=_sigmas(contents["categories"], category, skeleton),
        notes=notes,
    )


def _sigmas(categories: Any, category: Any, skeleton: Skeleton) -> dict[str, float]:
    """The category's `sigmas`, by joint, where it has a positive number for each."""
    values = next(one.get("sigmas") for one in categories if one["id"] == category)
    if not isinstance(values, list) or len(values) != len(skeleton):
        return {}
    if not all(isinstance(value, int | float) and 0 < value < np.inf for value in values):
        return {}
    return dict(zip(skeleton.joints, values, strict=True))


def _skeleton(categories: Any, path: Path) -> tuple[Any, Skeleton]:
    """Id of the category with key points, and its skeleton."""
    found = [category for category in categories if category.get("keypoints")]
    if len(found) != 1:
        raise InputError(f"{path} must have one category with keypoints, got {len(found)}")
    joints = tuple(str(name).lower() for name in found[0]["keypoints"])
    limbs = [(int(a) - 1, int(b) - 1) for a, b in found[0].get("skeleton") or ()]
    if joints == COCO.joints:
        return found[0]["id"], COCO
    return found[0]["id"], name_skeleton(str(found[0]["name"]).lower(), joints, limbs)


def _people(
    annotations: Any, category: Any, skeleton: Skeleton, images: dict[Any, str]
) -> Iterator[dict[str, Any]]:
    for annotation in annotations:
        if annotation["category_id"] != category or annotation.get("iscrowd"):
            continue
        keypoints = np.asarray(annotation.get("keypoints") or (), np.float64)
        if not keypoints.size:
            continue
        keypoints = keypoints.reshape(len(skeleton), 3)
        labelled = keypoints[:, 2] > 0
        box = np.asarray(annotation["bbox"], np.float64)
        if box.shape != (4,) or not np.isfinite(box).all() or not np.isfinite(keypoints).all():
            raise ValueError(f"annotation {annotation.get('id')} has no finite box and keypoints")
        if annotation["image_id"] not in images:
            raise ValueError(f"annotation {annotation.get('id')} is of an image that is not listed")
        if labelled.any() and box[2:].max() > 0:
            yield {
                "image_id": annotation["image_id"],
                "id": annotation.get("id"),
                "keypoints": keypoints,
                "bbox": box,
                "area": annotation.get("area", np.nan),
            }


def _left_out(annotations: Any, category: Any, kept: int) -> tuple[str, ...]:
    count = sum(annotation["category_id"] == category for annotation in annotations) - kept
    if not count:
        return ()
    return (f"{count} annotations of crowds, or without a labelled joint or a box, are left out",)
