"""What programs call the parts of a file of predictions, in any spelling of these names."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

NAMES = ("preds", "pred", "predictions", "joints", "keypoints")
CROWDS = ("people", "instances")  # of one picture
SCORES = "keypoint_scores"  # marks a person of mmpose's, whose box is x1, y1, x2, y2

# What an entry says of whom it is; arrays of these have an s more. A box is x, y, width, height; a
# frame is the number of a picture in a video.
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
    return re.sub(r"[\W_]", "", name.lower())


_USUAL = {plain(name): name for name in (*COLUMNS, *_FILE, *KNOWN)}
_USUAL["keypointnames"] = "joint_names"


def usual(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same by our spelling of each name: `imageId`, `Image_ID` and `image-id` are `image_id`.

    Of several spellings of one name ours counts, or else the first; the others stay as they are.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        own = _USUAL.get(plain(name), name)
        found[name if own in fields or own in found else own] = value
    return found
