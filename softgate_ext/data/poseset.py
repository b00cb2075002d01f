"""What every pose dataset is once read: paths, joints, and where to crop."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton


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
    """

    name: str
    skeleton: Skeleton
    image_paths: list[Path]
    joints: npt.NDArray[np.float32]
    labelled: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]
    centers: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        people, joints = len(self.image_paths), len(self.skeleton)
        for field, shape in (
            ("joints", (people, joints, 2)),
            ("labelled", (people, joints)),
            ("visible", (people, joints)),
            ("centers", (people, 2)),
            ("sizes", (people,)),
        ):
            got = getattr(self, field).shape
            if got != shape:
                raise InputError(f"{field} must have shape {shape}, got {got}")

    def __len__(self) -> int:
        return len(self.image_paths)

    def subset(self, indices: npt.ArrayLike) -> "PoseSet":
        """The people at these indices, in this order."""
        chosen = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            image_paths=[self.image_paths[i] for i in chosen],
            joints=self.joints[chosen],
            labelled=self.labelled[chosen],
            visible=self.visible[chosen],
            centers=self.centers[chosen],
            sizes=self.sizes[chosen],
        )
