"""The reader of Frames Labelled In Cinema (FLIC) in its official MATLAB file."""

from pathlib import Path

import numpy as np

from softgate_ext.data.image_files import find_images
from softgate_ext.data.matfile import field, load_variable, number, structs, text
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split, check_split
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import FLIC

COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)
"""The annotated columns of `coords` (2, 29), in the order of the skeleton."""

CROP = 3.0
"""The side of a crop over the height of the torso box. It contains all joints of 99 in 100 people of
the training examples."""


def read_flic(root: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Reads `examples.mat` and `images/`.

    "Left" and "right" in the file are those of the person: the left shoulder of a person seen from
    behind is on the left of the image. (Only the published evaluations are observer-centric.)
    Coordinates in the file are 1-based. A joint with NaN coordinates is not labelled.

    The crop is a square around the torso box, which is also given at test time.

    Args:
        root: folder of the dataset.
        split: "train" and "test" by `istrain` and `istest`. Examples with neither are in no split;
            FLIC-full has `isbad` and unchecked examples.
        check_images: whether a missing image is an error.

    Raises:
        InputError: a file or an image is missing or cannot be read, or the split is empty.
    """
    root = Path(root)
    check_split(split)
    path = root / "examples.mat"
    examples = structs(load_variable(path, "examples"))
    wanted = ("istrain", "istest") if split == "all" else (f"is{split}",)
    kept = [
        (index, example)
        for index, example in enumerate(examples)
        if any(number(example, name) > 0 for name in wanted) and not number(example, "isbad") > 0
    ]
    if not kept:
        raise EmptySplit(f"split {split!r} of {path} is empty")
    names, joints, boxes = [], [], []
    for index, example in kept:
        name, where = text(example, "filepath"), f"examples({index + 1}) of {path}"
        coords = np.asarray(field(example, "coords"))
        box = np.asarray(field(example, "torsobox")).ravel()
        if not name or Path(name).name != name:
            raise InputError(f"{where} must have the name of an image file as filepath")
        if coords.shape != (2, 29) or not np.issubdtype(coords.dtype, np.number):
            raise InputError(f"{where} must have coords of shape (2, 29), got {coords.shape}")
        if box.shape != (4,) or not (box[2:] > box[:2]).all():
            raise InputError(f"{where} must have a torsobox x1, y1, x2, y2, got {box.tolist()}")
        names.append(name)
        joints.append(coords[:, COLUMNS].T - 1.0)
        boxes.append(box - 1.0)
    paths, notes = find_images(names, [root], ["images"], check_images)
    positions, torso = np.array(joints), np.array(boxes, np.float32)
    labelled = np.asarray(np.isfinite(positions).all(-1))
    return PoseSet(
        name=f"flic-{split}",
        skeleton=FLIC,
        image_paths=paths,
        joints=np.where(labelled[..., None], positions, 0).astype(np.float32),
        labelled=labelled,
        visible=labelled,
        centers=(torso[:, :2] + torso[:, 2:]) / np.float32(2),
        sizes=np.float32(CROP) * (torso[:, 3] - torso[:, 1]),
        torso_boxes=torso,
        persons=np.array([(index, 0) for index, _ in kept], np.int64),
        notes=notes,
    )
