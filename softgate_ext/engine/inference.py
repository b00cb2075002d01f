"""From crops to joints: the one path that evaluation, prediction and the demo share."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.engine.config import Amp
from softgate_ext.engine.device import autocast
from softgate_ext.engine.loading import batches, leave_ctrl_c
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.skeleton import Skeleton


def to_input(crops: Tensor, device: torch.device, channels_last: bool = False) -> Tensor:
    """uint8 crops (B, 3, S, S) as the float32 input of the network, in [0, 1]."""
    images = crops.to(device, non_blocking=True).float().div_(255.0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


class PoseInference:
    """Joints of people in crops, decoded batch by batch on the network's device."""

    def __init__(
        self,
        model: nn.Module,
        codec: HeatmapCodec,
        skeleton: Skeleton,
        amp: Amp = "off",
        flip_test: bool = False,
        channels_last: bool = False,
    ) -> None:
        self.model = model
        self.codec = codec
        self.skeleton = skeleton
        self.amp: Amp = amp
        self.flip_test = flip_test
        self.channels_last = channels_last
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, J, 2) in crop pixels and scores (B, J), both float32 on the network's device.

        Args:
            crops: uint8 (B, 3, S, S), RGB.
        """
        return self.codec.decode(self.heatmaps(crops))

    @torch.inference_mode()
    def heatmaps(self, crops: Tensor) -> Tensor:
        """Heatmaps (B, J, S/4, S/4), float32 on the network's device, of crops as above."""
        images = to_input(crops, self.device, self.channels_last)
        training = self.model.training
        self.model.eval()
        try:
            heatmaps = self._heatmaps(images)
            if self.flip_test:
                # Pixel centres mirror onto pixel centres, so the maps need no shift.
                mirrored = self._heatmaps(images.flip(-1)).flip(-1)
                order = torch.as_tensor(self.skeleton.flip_permutation, device=self.device)
                heatmaps = (heatmaps + mirrored[:, order]) / 2
        finally:
            self.model.train(training)
        return heatmaps

    def _heatmaps(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.amp):
            heatmaps: Tensor = self.model(images)[-1]
        return heatmaps.float()


def predict_people(
    inference: PoseInference, dataset: PoseDataset, batch_size: int = 32, workers: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, J, 2), float64, in source-image pixels and scores (N, J) of a whole data set."""
    loader = DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        pin_memory=inference.device.type == "cuda",
        worker_init_fn=leave_ctrl_c,
    )
    joints, scores = [], []
    for batch in batches(loader):
        found, sure = inference(batch["image"])
        joints.append(to_source(found.double().cpu().numpy(), batch["matrix"].numpy()))
        scores.append(sure.cpu().numpy())
    return np.concatenate(joints), np.concatenate(scores)


def to_source(joints: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Joints (B, J, 2) in crop pixels, taken back through `matrices` (B, 2, 3), source to crop."""
    inverse = np.linalg.inv(matrices[:, :, :2])
    result: np.ndarray = (joints - matrices[:, None, :, 2]) @ inverse.transpose(0, 2, 1)
    return result
