"""The PyTorch dataset of network crops, for `torch.utils.data.DataLoader`."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, get_worker_info

from softgate_ext.data.augment import Augmentation, Change
from softgate_ext.data.crops import CropCache, compose
from softgate_ext.data.images import read_image
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.pose.geometry import apply_affine, invert_affine, warp


class PoseDataset(Dataset[dict[str, torch.Tensor]]):
    """The crops of a pose set with their joints.

    Each item is a dict:
        image: (3, S, S) uint8 RGB.
        joints: (J, 2) float32, in crop pixels.
        weights: (J,) float32, 1 if the joint is labelled and inside the crop, else 0.
        matrix: (2, 3) float64, from source pixels to crop pixels.
        index: int64 scalar, the index of the sample in the pose set.

    The augmentation of an item depends on (seed, epoch, index) alone, so that a run can be repeated
    with any number of workers. The epoch is stored in shared memory, so that `set_epoch`, called
    between two epochs, also reaches persistent workers.

    Args:
        pose_set: the samples.
        image_size: side S of the crop in pixels.
        augment: the augmentation, or None.
        seed: the seed.
        crops: cached crops of `pose_set` to read in place of its images.

    Raises:
        InputError: a value is out of range, or mirroring is on and there are `unpaired` joints.
    """

    def __init__(
        self,
        pose_set: PoseSet,
        image_size: int = 256,
        augment: Augmentation | None = None,
        seed: int = 0,
        crops: CropCache | None = None,
    ) -> None:
        if image_size < 1:
            raise InputError(f"image_size must be at least 1 pixel, got {image_size}")
        if seed < 0:
            raise InputError(f"seed must not be negative, got {seed}")
        if crops is not None and len(crops) != len(pose_set):
            raise InputError(
                f"crops must hold {counted(len(pose_set), 'sample[s]')}, as the dataset does, got {len(crops)}"
            )
        self.pose_set = pose_set
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.crops = crops
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        mirrored = augment is not None and augment.flip > 0
        self._flipped = list(pose_set.skeleton.flip_permutation) if mirrored else []

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which selects the augmentation.

        Raises:
            InputError: `epoch` is negative.
        """
        if epoch < 0:
            raise InputError(f"epoch must not be negative, got {epoch}")
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.pose_set)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"index must be from 0 to {len(self) - 1}, got {index}")
        if get_worker_info() is not None:
            # The workers run in parallel already, and OpenCV's thread pool does not survive a fork.
            cv2.setNumThreads(0)
        people, size = self.pose_set, self.image_size
        change = Change()
        if self.augment is not None:
            rng = np.random.default_rng((self.seed, int(self._epoch[0]), index))
            change = self.augment.sample(rng)
        matrix = change.matrix(people.centers[index], float(people.sizes[index]), size)
        image = change.recolour(warp(*self._source(index, matrix), size))
        joints = apply_affine(matrix, people.joints[index])
        labelled = people.labelled[index]
        if change.flip:
            joints, labelled = joints[self._flipped], labelled[self._flipped]
        inside = ((joints >= -0.5) & (joints < size - 0.5)).all(-1)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "joints": torch.from_numpy(joints.astype(np.float32)),
            "weights": torch.from_numpy((labelled & inside).astype(np.float32)),
            "matrix": torch.from_numpy(matrix),
            "index": torch.tensor(index),
        }

    def _source(
        self, index: int, matrix: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """The pixels to warp, and the matrix from them to the crop."""
        if self.crops is None:
            return read_image(self.pose_set.image_paths[index]), matrix
        pixels, from_source = self.crops[index]
        return pixels, compose(matrix, invert_affine(from_source))
