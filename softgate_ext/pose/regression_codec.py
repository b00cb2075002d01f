"""Joint positions as networks regress them, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.pose.codec import LARGEST, checked_joints


class RegressionCodec:
    """Joints as shares of the crop's side from its centre, -0.5 to 0.5 inside of it.

    The normalisation of Toshev and Szegedy, CVPR 2014, by the box that is the crop. Positions are
    crop pixels with centres at integers, so a mirror image negates x alone.

    Args:
        image_size: Side of the crop in pixels.

    Raises:
        InputError: The size is out of range.
    """

    def __init__(self, image_size: int) -> None:
        if not 1 <= image_size <= LARGEST:
            raise InputError(f"image_size must be 1 to {LARGEST} pixels, got {image_size}")
        self.image_size = image_size

    def encode(self, joints: Tensor, weights: Tensor) -> Tensor:
        """Targets (B, J, 2) float32 of joints (B, J, 2), crop pixels; 0 where a weight (B, J) is 0
        or a joint is not finite."""
        joints = checked_joints(joints, weights)
        present = (weights.to(joints.device) > 0) & joints.isfinite().all(-1)
        shares = (joints + 0.5) / self.image_size - 0.5
        return torch.where(present[..., None], shares, 0.0)

    def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Joint positions and their scores.

        Args:
            outputs: (B, J, 2), any floating dtype.

        Returns:
            Joints (B, J, 2) float32 in crop pixels and scores (B, J) float32. A regression does
            not tell how sure it is: each score is 1, and 0 of a joint that is not finite, which is
            put at the centre.
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
        """What the mirror image gives (B, J, 2), as of the image itself; `order` as in
        `Skeleton.flip_permutation`."""
        return outputs[:, order] * outputs.new_tensor([-1.0, 1.0])

    def average(self, outputs: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """Mean of the joints (B, J, 2) of concentric crops of these sizes, in the first one's."""
        pairs = zip(outputs, scales, strict=True)
        return torch.stack([one * (scale / scales[0]) for one, scale in pairs]).mean(0)
