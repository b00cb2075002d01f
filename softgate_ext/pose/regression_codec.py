"""The codec for networks that regress the coordinates of joints."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import LARGEST, checked_joints


class RegressionCodec:
    """The codec between joints in crop pixels and joints relative to the crop, as DeepPose gives them.

    Relative positions are offsets from the centre divided by the side, from -0.5 to 0.5 inside the
    crop. This is the normalisation of Toshev and Szegedy, CVPR 2014, with the crop as the box. Pixel
    centres are at integers, so that mirroring negates x.

    Args:
        image_size: side of the crop in pixels.

    Raises:
        InputError: the size is out of range.
    """

    def __init__(self, image_size: int) -> None:
        if not 1 <= image_size <= LARGEST:
            raise InputError(f"image_size must be 1 to {LARGEST} pixels, got {image_size}")
        self.image_size = image_size

    def encode(self, joints: Tensor, weights: Tensor) -> Tensor:
        """The targets of the network.

        Args:
            joints: (B, J, 2), in crop pixels.
            weights: (B, J).

        Returns:
            (B, J, 2) float32; 0 if the weight is 0 or the joint is not finite.

        Raises:
            InputError: the joints are not (B, J, 2), or the weights are not (B, J).
        """
        joints = checked_joints(joints, weights)
        present = (weights.to(joints.device) > 0) & joints.isfinite().all(-1)
        shares = (joints + 0.5) / self.image_size - 0.5
        return torch.where(present[..., None], shares, 0.0)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The positions of the joints, and their scores.

        Args:
            outputs: (B, J, 2), any floating dtype.

        Returns:
            Joints (B, J, 2) float32 in crop pixels, and scores (B, J) float32. A regressed joint has no
            confidence: its score is 1. A joint that is not finite has the score 0 and is put at the
            centre.

        Raises:
            InputError: the outputs have another shape or dtype.
        """
        if outputs.ndim != 3 or outputs.shape[-1] != 2:
            raise InputError(f"outputs must have shape (B, J, 2), got {tuple(outputs.shape)}")
        if not outputs.is_floating_point():
            raise InputError(f"outputs must be of a floating dtype, got {outputs.dtype}")
        shares = outputs.detach().float()
        finite = shares.isfinite().all(-1)
        shares = torch.where(finite[..., None], shares, 0.0)
        return (shares + 0.5) * self.image_size - 0.5, finite.float()

    def mirrored(self, outputs: Tensor, order: Tensor) -> Tensor:
        """Turns outputs (B, J, 2) for a mirror image into outputs for the image.

        `order` is `Skeleton.flip_permutation`.
        """
        return outputs[:, order] * outputs.new_tensor([-1.0, 1.0])

    def average(self, outputs: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """The mean of outputs (B, J, 2) for concentric crops of these sizes, relative to the first."""
        pairs = zip(outputs, scales, strict=True)
        return torch.stack([one * (scale / scales[0]) for one, scale in pairs]).mean(0)
