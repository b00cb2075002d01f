"""What every pose dataset is once read: paths, joints, and where to crop."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import boxes_around
from softgate_ext.pose.skeleton import Skeleton

Split = Literal["train", "test", "all"]
"""`test` is what a dataset keeps for measuring, with its labels; `all` is both together."""


def check_split(split: str) -> None:
    """Raises InputError unless `split` is a `Split`."""
    if split not in get_args(Split):
        raise InputError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")


class EmptySplit(InputError):
    """A dataset has nobody in the part that was asked for.

    Args:
        fault: What is empty.
        takes: What is to be given instead.
        notes: What was left out in reading, as in `PoseSet`.

    Attributes:
        fault: The sentence without what is to be given instead.
    """

    def __init__(
        self,
        fault: str,
        takes: str = "a part with samples; `softgate data check` counts them",
        notes: Sequence[str] = (),
    ) -> None:
        self.fault = f"{fault} ({', '.join(notes)})" if notes else fault
        super().__init__(f"{self.fault}; takes {takes}")


@dataclasses.dataclass(frozen=True)
class PoseSet:
    """N people, one crop each. Coordinates are 0-based pixels of the original image.

    Attributes:
        name: Name of the dataset and split.
        skeleton: Scheme of the J joints.
        image_paths: N files.
        joints: (N, J, 2) float32.
        labelled: (N, J) bool, the joints that are trained on and counted, occluded ones included.
        visible: (N, J) bool, labelled and not occluded.
        centers: (N, 2) float32, centre of the square crop.
        sizes: (N,) float32, side of the square crop.
        head_boxes: (N, 4) float32 x1, y1, x2, y2 of the annotated head, the unit of PCKh; NaN for
            people without. None where the dataset has no such boxes.
        torso_boxes: (N, 4) float32, the same for the torso, the unit of FLIC's PCK.
        boxes: (N, 4) float32 x1, y1, x2, y2 of the whole person as annotated; NaN for people
            without. None where the dataset has no such boxes.
        areas: (N,) float32 pixels, the annotated area of the person, the scale of OKS; NaN and None
            as for `boxes`.
        ids: (N, 2) object, what the dataset's own file calls the image and the annotation, integers
            or strings; None for those without. None where it has no such ids.
        stated_sizes: (N, 2) float32 width and height of the picture as the dataset's own file states
            them, which may not be those of the picture; NaN and None as for `boxes`.
        persons: (N, 2) int64, place of the image and of the person in it, 0-based, in the
            dataset's own file; of several files the images of later ones are counted on. None
            where there is one person an image, in file order, or this is not known.
        sigmas: Spread of the annotators by joint, for OKS, where the dataset has its own.
        categories: Names in lower case, by ids as text, of the categories that its own file gives
            these people; empty where it has none.
        annotation_file: The one file in COCO's form that holds them, beside the crowds and pictures
            without anybody that COCO's AP goes by; None of other data and of several files.
        notes: What was left out or mended in reading, one sentence each.
    """

    name: str
    skeleton: Skeleton
    image_paths: list[Path]
    joints: npt.NDArray[np.float32]
    labelled: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]
    centers: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.float32]
    head_boxes: npt.NDArray[np.float32] | None = None
    torso_boxes: npt.NDArray[np.float32] | None = None
    boxes: npt.NDArray[np.float32] | None = None
    areas: npt.NDArray[np.float32] | None = None
    ids: npt.NDArray[np.object_] | None = None
    stated_sizes: npt.NDArray[np.float32] | None = None
    persons: npt.NDArray[np.int64] | None = None
    sigmas: Mapping[str, float] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotation_file: Path | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        people, joints = len(self.image_paths), len(self.skeleton)
        for field, shape in (
            ("joints", (people, joints, 2)),
            ("labelled", (people, joints)),
            ("visible", (people, joints)),
            ("centers", (people, 2)),
            ("sizes", (people,)),
            ("head_boxes", (people, 4)),
            ("torso_boxes", (people, 4)),
            ("boxes", (people, 4)),
            ("areas", (people,)),
            ("ids", (people, 2)),
            ("stated_sizes", (people, 2)),
            ("persons", (people, 2)),
        ):
            value = getattr(self, field)
            if value is not None and value.shape != shape:
                raise InputError(f"{field} must have shape {shape}, got {value.shape}")

    def __len__(self) -> int:
        return len(self.image_paths)

    @property
    def person_boxes(self) -> npt.NDArray[np.float64]:
        """(N, 4) x1, y1, x2, y2 as annotated, else around the labelled joints; NaN without these."""
        around = boxes_around(self.joints, self.labelled)
        return around if self.boxes is None else np.where(np.isnan(self.boxes), around, self.boxes)

    def digest(self) -> str:
        """Tells these people from others, by image names and labels, wherever the files lie."""
        names = "/".join(path.name for path in self.image_paths)
        digest = hashlib.sha256(names.encode(errors="surrogateescape"))
        for value in (self.joints, self.labelled):
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def subset(self, indices: npt.ArrayLike) -> "PoseSet":
        """The people at these indices, in this order."""
        chosen = np.asarray(indices, np.int64)
        arrays: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value[chosen]
            for name in _ARRAYS
        }
        paths = [self.image_paths[i] for i in chosen]
        return dataclasses.replace(self, image_paths=paths, **arrays)


_ARRAYS = (
    "joints", "labelled", "visible", "centers", "sizes", "head_boxes", "torso_boxes", "boxes",
    "areas", "ids", "stated_sizes", "persons",
)  # fmt: skip
