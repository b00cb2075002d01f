"""From crops to joints: the code path that evaluation, prediction and the demo share."""

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, StackDataset

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.errors import InputError
from softgate_ext.inference.batches import batches, loader
from softgate_ext.inference.device import autocast, in_bf16
from softgate_ext.inference.fold import fold
from softgate_ext.nn.convolution import is_faster_in
from softgate_ext.pose.codec import PoseCodec
from softgate_ext.pose.skeleton import Skeleton
from softgate_ext.runs.options import Amp


def to_input(crops: Tensor, device: torch.device, channels_last: bool = False) -> Tensor:
    """uint8 crops (B, 3, S, S) as the network's input: float32 in [0, 1] on the device."""
    images = crops.to(device, non_blocking=True).float().div_(255.0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


class PoseInference:
    """Runs a network on crops, with autocast, flip test and folding.

    Args:
        model: the network, on its device.
        codec: decodes the network's outputs.
        skeleton: the joints.
        amp: autocast of convolutions: "off", "bf16" or "auto".
        flip_test: whether to average the outputs for each crop and for its mirror image.
        channels_last: whether inputs are converted to channels_last.
        folded: whether to run `fold(model)`, for weights that no longer change. On a CPU its 3x3
            convolutions then use Winograd's algorithm, if that is faster there; the network is then
            converted to bfloat16 in place of autocast.

    Raises:
        InputError: `amp` is unknown, or the flip test is impossible because a joint has no partner on
            the other side.
    """

    def __init__(
        self,
        model: nn.Module,
        codec: PoseCodec,
        skeleton: Skeleton,
        amp: Amp = "off",
        flip_test: bool = False,
        channels_last: bool = False,
        folded: bool = False,
    ) -> None:
        if amp not in get_args(Amp):
            raise InputError(f"amp: got {amp!r}; takes {', '.join(get_args(Amp))}")
        if flip_test:
            _ = skeleton.flip_permutation  # raises now and not at the first crop
        self.device = next(model.parameters()).device
        if folded:
            dtype = torch.bfloat16 if in_bf16(self.device, amp) else None
            if self.device.type == "cpu" and is_faster_in(dtype or torch.float32):
                model, amp = fold(model, dtype, conv="winograd"), "off"
            else:
                model = fold(model, channels_last=channels_last)
            channels_last = model.channels_last
        self.model = model
        self.codec = codec
        self.skeleton = skeleton
        self.amp: Amp = amp
        self.flip_test = flip_test
        self.channels_last = channels_last

    @torch.inference_mode()
    def outputs(self, crops: Tensor) -> Tensor:
        """The outputs of the network's last stage, which the codec decodes.

        Args:
            crops: (B, 3, S, S) uint8, RGB.

        Returns:
            Heatmaps (B, J, h, w) or joints (B, J, 2), float32; with the flip test, the average with the
            outputs for the mirror images.
        """
        images = to_input(crops, self.device, self.channels_last)
        training = self.model.training
        self.model.eval()
        try:
            outputs = self._forward(images)
            if self.flip_test:
                order = torch.as_tensor(self.skeleton.flip_permutation, device=self.device)
                mirrored = self.codec.mirrored(self._forward(images.flip(-1)), order)
                outputs = (outputs + mirrored) / 2
        finally:
            self.model.train(training)
        return outputs

    def _forward(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.amp):
            outputs: Tensor = self.model(images)[-1]
        return outputs.float()


def predict_people(
    inference: PoseInference,
    dataset: PoseDataset,
    batch_size: int = 32,
    workers: int = 0,
    scales: Sequence[float] = (1.0,),
) -> tuple[np.ndarray, np.ndarray]:
    """The predicted joints of a whole dataset.

    Args:
        inference: the network and how it is run.
        dataset: crops without augmentation.
        batch_size: number of samples in a forward pass.
        workers: number of processes that read and crop images.
        scales: sides of the crop relative to the dataset's. The outputs for all scales are averaged
            in the frame of the first.

    Returns:
        Joints (N, J, 2) float64, in pixels of the source image, and scores (N, J) float32.

    Raises:
        InputError: there is no scale, a number is out of range, or an image cannot be read.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if value < least:
            raise InputError(f"{name}: got {value}; takes {least} or more")
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise InputError(f"scales: got {list(scales)}; takes one or more numbers from 0.1 to 10")
    at_scales: Dataset[Any] = StackDataset(*(_at_scale(dataset, scale) for scale in scales))
    crops = loader(at_scales, workers, inference.device, batch_size=batch_size)
    return predict_crops(inference, crops, scales)


def predict_crops(
    inference: PoseInference, loaded: DataLoader[Any], scales: Sequence[float] = (1.0,)
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict_people`, of the batches of a loader.

    Args:
        inference: the network and how it is run.
        loaded: tuples of one batch of crops for each of `scales`.
        scales: as in `predict_people`.
    """
    joints, scores = [], []
    for crops in batches(loaded):
        outputs = [inference.outputs(crop["image"]) for crop in crops]
        found, sure = inference.codec.decode(inference.codec.average(outputs, scales))
        joints.append(to_source(found.double().cpu().numpy(), crops[0]["matrix"].numpy()))
        scores.append(sure.cpu().numpy())
    return np.concatenate(joints), np.concatenate(scores)


def _at_scale(dataset: PoseDataset, scale: float) -> PoseDataset:
    if scale == 1:
        return dataset
    people = dataset.pose_set
    resized = dataclasses.replace(people, sizes=people.sizes * np.float32(scale))
    return PoseDataset(resized, dataset.image_size)


def to_source(joints: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Joints (B, J, 2) in pixels of the source image, from pixels of the crop.

    Args:
        joints: (B, J, 2), in pixels of the crop.
        matrices: (B, 2, 3), the affine maps from the source image to the crop.
    """
    inverse = np.linalg.inv(matrices[:, :, :2])
    result: np.ndarray = (joints - matrices[:, None, :, 2]) @ inverse.transpose(0, 2, 1)
    return result
