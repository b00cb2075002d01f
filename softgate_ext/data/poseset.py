"""`PoseSet`, the form of every pose dataset after reading: image paths, joints and crops."""

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
"""`test` is the labelled part of a dataset for evaluation; `all` is train and test together."""


def check_split(split: str) -> None:
    """Raises InputError unless `split` is a `Split`."""
    if split not in get_args(Split):
        raise InputError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")


class EmptySplit(InputError):
    """The requested part of a dataset has no samples.

    Args:
        fault: a sentence that says what is empty.
        takes: what to give instead.
        notes: notes on what was left out in reading, as in `PoseSet`.

    Attributes:
        fault: the sentence with the notes, without what to give instead.
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
    """N samples, each a person with one crop. Coordinates are 0-based pixels of the original image.

    Attributes:
        name: name of the dataset and split.
        skeleton: the skeleton of the J joints.
        image_paths: the N image files.
        joints: (N, J, 2) float32.
        labelled: (N, J) bool, the joints that are trained on and evaluated, including occluded ones.
        visible: (N, J) bool, labelled and not occluded.
        centers: (N, 2) float32, centre of the square crop.
        sizes: (N,) float32, side of the square crop.
        head_boxes: (N, 4) float32, x1, y1, x2, y2 of the annotated head, from which PCKh's reference
            length is made. NaN for a sample without a box; None if the dataset has no such boxes.
        torso_boxes: (N, 4) float32, the same for the torso and FLIC's PCK.
        boxes: (N, 4) float32, x1, y1, x2, y2 of the annotated whole person. NaN for a sample without a
            box; None if the dataset has no such boxes.
        areas: (N,) float32, the annotated area of the person in square pixels, the scale of OKS. NaN
            and None as for `boxes`.
        ids: (N, 2) object, the ids of image and annotation in the dataset's file, integers or strings.
            An entry is None without an id; the whole is None if the dataset has no ids.
        stated_sizes: (N, 2) float32, width and height of the image as the dataset's file states them,
            which may differ from the image's own. NaN and None as for `boxes`.
        persons: (N, 2) int64, 0-based positions of the image in the dataset's file and of the person in
            the image. With several files, images are counted across them. None if each image has one
            person, in the order of the file, or if the positions are not known.
        sigmas: standard deviations of the annotators by joint, for OKS, if the dataset has its own.
        categories: names, in lower case, of the samples' categories by their ids as text; empty if the
            dataset has none.
        annotation_file: the single file in COCO's form that the samples come from. It also holds the
            crowds and the images without people that COCO's AP needs. None for other formats and for
            several files.
        notes: notes on what was left out or corrected in reading, one sentence each.

    Raises:
        InputError: an array has another shape.
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
        """(N, 4), the annotated boxes x1, y1, x2, y2, else boxes around the labelled joints, else NaN."""
        around = boxes_around(self.joints, self.labelled)
        return around if self.boxes is None else np.where(np.isnan(self.boxes), around, self.boxes)

    def digest(self) -> str:
        """A hash of image names and labels, which identifies the samples wherever their files are."""
        names = "/".join(path.name for path in self.image_paths)
        digest = hashlib.sha256(names.encode(errors="surrogateescape"))
        for value in (self.joints, self.labelled):
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def subset(self, indices: npt.ArrayLike) -> "PoseSet":
        """The samples at these indices, in this order."""
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
