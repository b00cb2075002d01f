"""The names that programs give to the parts of a file of predictions, in any spelling."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

NAMES = ("preds", "pred", "predictions", "joints", "keypoints")
CROWDS = ("people", "instances")  # the people of one image
SCORES = "keypoint_scores"  # only mmpose writes it; its boxes are x1, y1, x2, y2

# The names of the fields of an identity. Arrays of them may have an s at the end. A box is x, y, width,
# height; a frame is the number of an image in a video.
FIELDS: dict[str, tuple[str, ...]] = {
    "name": (
        "image", "file", "file_name", "image_name", "img_name", "image_path", "img_path",
        "image_file", "path", "file_path",
    ),
    "image_id": ("image_id", "img_id"),
    "frame": ("frame", "frame_id"),
    "annotation_id": ("annotation_id", "ann_id"),
    "id": ("id",),
    "place": ("place",),
    "box": ("bbox", "box", "bbox_xywh", "box_xywh"),
    "score": ("score",),
    "category": ("category_id",),
}  # fmt: skip

_FILE = ("annotations", "images", "categories", "videos", "instance_info", "meta_info")
_OF_ENTRIES = [name for names in FIELDS.values() for name in names]
COLUMNS = frozenset(f"{name}s" for name in _OF_ENTRIES)
KNOWN = frozenset(
    [*_OF_ENTRIES, *NAMES, *CROWDS, SCORES, "scores", "iscrowd", "joint_names", "origin"]
)


@cache
def plain(name: str) -> str:
    """A name in lower case with letters and digits only, for comparisons."""
    return re.sub(r"[\W_]", "", name.lower())


_USUAL = {plain(name): name for name in (*COLUMNS, *_FILE, *KNOWN)}
_USUAL["keypointnames"] = "joint_names"


def usual(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under the usual spelling of each name: `imageId` and `Image_ID` become `image_id`.

    If a name occurs in several spellings, only the usual one, or else the first, is renamed.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        own = _USUAL.get(plain(name), name)
        found[name if own in fields or own in found else own] = value
    return found
