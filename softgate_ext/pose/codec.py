"""Codecs between joints and the tensors that a network learns, and the one for heatmaps."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional

from softgate_ext.errors import InputError
from softgate_ext.ranges import RANGES

Decoder = Literal["argmax", "quarter", "dark", "softargmax"]
LARGEST = int(RANGES["image_size"].high)  # the largest side of a crop, in pixels
SIGMA = 1.0  # the usual standard deviation of the targets, in heatmap pixels
DECODER: Decoder = "dark"


class PoseCodec(Protocol):
    """Turns joints into training targets, and the outputs of a network into joints.

    Attributes:
        image_size: side of the crop in pixels.
    """

    image_size: int

    def encode(self, joints: Tensor, weights: Tensor) -> Tensor:
        """Targets (B, J, ...) for joints (B, J, 2) in crop pixels with weights (B, J)."""

    def decode(self, outputs: Tensor, /) -> tuple[Tensor, Tensor]:
        """Joints (B, J, 2) in crop pixels and scores (B, J), from outputs of the targets' shape."""

    def mirrored(self, outputs: Tensor, order: Tensor) -> Tensor:
        """Turns the outputs for a mirror image into outputs for the image.

        Args:
            outputs: (B, J, ...).
            order: (J,), the order of the joints in the mirror image.
        """

    def average(self, outputs: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """The mean of the outputs for concentric crops of these sizes, in the frame of the first."""


def checked_joints(joints: Tensor, weights: Tensor) -> Tensor:
    """The joints in float32.

    Raises:
        InputError: the joints are not (B, J, 2), or the weights are not (B, J).
    """
    if joints.ndim != 3 or joints.shape[-1] != 2:
        raise InputError(f"joints must have shape (B, J, 2), got {tuple(joints.shape)}")
    if weights.shape != joints.shape[:2]:
        raise InputError(
            f"weights must have shape {tuple(joints.shape[:2])}, got {tuple(weights.shape)}"
        )
    return joints.float()


class HeatmapCodec:
    """The codec between joints and Gaussian heatmaps. It runs on the device of its input.

    Positions are crop pixels with pixel centres at integers. Heatmap coordinates are
    `(x + 0.5) / stride - 0.5`, so that the heatmaps of a mirror image are mirrored exactly.

    Each decoder starts from the highest heatmap pixel (cell):

    - argmax: the cell itself.
    - quarter: a quarter of a cell towards the larger neighbour, per axis (Newell et al. 2016).
    - dark: a Newton step on the logarithm of the blurred heatmap (Zhang et al. 2020, arXiv
      1910.06278). It is exact for a Gaussian, also at the border.
    - softargmax: the centre of mass within 4 sigma. It is biased inwards within 4 sigma of the border.

    Args:
        image_size: side of the crop in pixels.
        heatmap_size: side of the heatmap in cells.
        sigma: standard deviation of the Gaussian in cells.
        decoder: one of the above.

    Raises:
        InputError: a size or sigma is out of range, or the decoder is unknown.
    """

    def __init__(
        self,
        image_size: int,
        heatmap_size: int,
        sigma: float = SIGMA,
        decoder: Decoder = DECODER,
    ) -> None:
        if not 1 <= image_size <= LARGEST:
            raise InputError(f"image_size must be 1 to {LARGEST} pixels, got {image_size}")
        if heatmap_size < 3:
            raise InputError(f"heatmap_size must be at least 3 cells, got {heatmap_size}")
        if not (math.isfinite(sigma) and sigma > 0):
            raise InputError(f"sigma must be a positive number of cells, got {sigma}")
        if decoder not in get_args(Decoder):
            raise InputError(
                f"decoder must be one of {', '.join(get_args(Decoder))}, got {decoder!r}"
            )
        self.image_size = image_size
        self.heatmap_size = heatmap_size
        self.sigma = sigma
        self.decoder = decoder

    @property
    def stride(self) -> float:
        """Crop pixels per heatmap cell."""
        return self.image_size / self.heatmap_size

    def encode(self, joints: Tensor, weights: Tensor) -> Tensor:
        """Heatmaps with peak 1 at the real-valued position of each joint.

        Args:
            joints: (B, J, 2), in crop pixels.
            weights: (B, J); a joint of weight 0 gets an empty heatmap.

        Returns:
            (B, J, heatmap_size, heatmap_size) float32 on the device of `joints`. A heatmap is zero if
            the weight is 0, or if the joint is not finite or outside the crop.

        Raises:
            InputError: the joints are not (B, J, 2), or the weights are not (B, J).
        """
        joints = checked_joints(joints, weights)
        inside = ((joints >= -0.5) & (joints < self.image_size - 0.5)).all(-1)
        present = inside & (weights.to(joints.device) > 0)
        cells = (joints + 0.5) / self.stride - 0.5
        grid = torch.arange(self.heatmap_size, device=joints.device, dtype=torch.float32)
        # A Gaussian is separable: two vectors per joint and one outer product.
        profile = torch.exp(-0.5 * ((grid - cells[..., None]) / self.sigma) ** 2)
        profile = torch.where(present[..., None, None], profile, 0.0)
        return profile[:, :, 1, :, None] * profile[:, :, 0, None, :]

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """The positions of the joints, and their scores. Cells that are not finite count as 0.

        Args:
            heatmaps: (B, J, heatmap_size, heatmap_size), any floating dtype.

        Returns:
            Joints (B, J, 2) float32 in crop pixels, and scores (B, J) float32: the highest value of
            each heatmap.

        Raises:
            InputError: the heatmaps have another shape or dtype.
        """
        side = self.heatmap_size
        if heatmaps.ndim != 4 or heatmaps.shape[-2:] != (side, side):
            raise InputError(
                f"heatmaps must have shape (B, J, {side}, {side}), got {tuple(heatmaps.shape)}"
            )
        if not heatmaps.is_floating_point():
            raise InputError(f"heatmaps must be of a floating dtype, got {heatmaps.dtype}")
        maps = torch.nan_to_num(heatmaps.detach().float(), nan=0.0, posinf=0.0, neginf=0.0)
        scores, flat = maps.flatten(2).max(-1)
        peak = torch.stack([flat % side, flat // side], -1)
        cells = _DECODERS[self.decoder](maps, peak, self.sigma)
        return (cells + 0.5) * self.stride - 0.5, scores

    def mirrored(self, outputs: Tensor, order: Tensor) -> Tensor:
        """Turns heatmaps (B, J, h, w) of a mirror image into heatmaps of the image.

        Pixel centres are mirrored onto pixel centres, so that no shift is needed. `order` is
        `Skeleton.flip_permutation`.
        """
        return outputs.flip(-1)[:, order]

    def average(self, outputs: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """The mean of heatmaps (B, J, h, w) of concentric crops, on the grid of the first crop.

        Outside of a smaller crop, the mean is over the other crops.

        Args:
            outputs: one tensor of heatmaps per crop size.
            scales: the sizes of the crops.
        """
        first, *others = outputs
        total, covered = first, torch.ones_like(first[:, :1])
        for heat, scale in zip(others, scales[1:], strict=True):
            # grid_sample's coordinates run from edge to edge of a map, so that those of concentric
            # crops differ by a factor only.
            zoom = torch.eye(2, 3, device=heat.device).expand(len(heat), 2, 3) * (scales[0] / scale)
            grid = functional.affine_grid(zoom, list(heat.shape), align_corners=False)
            total = total + functional.grid_sample(heat, grid, align_corners=False)
            inside = torch.ones_like(heat[:, :1])
            covered = covered + functional.grid_sample(inside, grid, align_corners=False)
        return total / covered


def _cells(maps: Tensor, at: Tensor, dx: int, dy: int) -> Tensor:
    """The values (B, J) of the maps at integer positions (B, J, 2) plus an offset."""
    flat = (at[..., 1] + dy) * maps.shape[-1] + (at[..., 0] + dx)
    return maps.flatten(2).gather(-1, flat[..., None])[..., 0]


def _quarter(maps: Tensor, peak: Tensor, sigma: float) -> Tensor:
    last = maps.shape[-1] - 1
    inner = peak.clamp(1, last - 1)
    slope = torch.stack(
        [
            _cells(maps, inner, 1, 0) - _cells(maps, inner, -1, 0),
            _cells(maps, inner, 0, 1) - _cells(maps, inner, 0, -1),
        ],
        -1,
    )
    # On the border one neighbour is missing, and the cell itself is taken.
    return peak + 0.25 * torch.where(inner == peak, slope.sign(), 0.0)


def _dark(maps: Tensor, peak: Tensor, sigma: float) -> Tensor:
    last = maps.shape[-1] - 1
    radius = math.ceil(4 * sigma)
    # The blur would lack the mass beyond the border, so the map is not blurred near the border.
    near_border = ((peak <= radius) | (peak >= last - radius)).any(-1)
    smooth = torch.where(near_border[..., None, None], maps, _blur(maps, sigma, radius))
    log = smooth.clamp_min(1e-10).log()
    # A parabola can be computed from any of its points. For a peak on the border, the differences
    # are taken one cell inside.
    at = peak.clamp(1, last - 1)
    middle = _cells(log, at, 0, 0)
    east, west = _cells(log, at, 1, 0), _cells(log, at, -1, 0)
    south, north = _cells(log, at, 0, 1), _cells(log, at, 0, -1)
    gx, gy = (east - west) / 2, (south - north) / 2
    hxx, hyy = east - 2 * middle + west, south - 2 * middle + north
    hxy = (
        _cells(log, at, 1, 1) - _cells(log, at, -1, 1)
        - _cells(log, at, 1, -1) + _cells(log, at, -1, -1)
    ) / 4  # fmt: skip
    det = hxx * hyy - hxy * hxy
    concave = (hxx < -1e-6) & (det > 1e-9)
    safe = torch.where(concave, det, 1.0)
    step = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], -1) / safe[..., None]
    # The parabola describes the peak only within one cell of the highest cell.
    refined = torch.minimum(torch.maximum(at + step, peak - 1.0), peak + 1.0)
    return torch.where(concave[..., None], refined, peak.float())


def _blur(maps: Tensor, sigma: float, radius: int) -> Tensor:
    offset = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = kernel / kernel.sum()
    planes = maps.flatten(0, 1)[:, None]
    planes = torch.nn.functional.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, radius))
    planes = torch.nn.functional.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return planes.view_as(maps)


def _softargmax(maps: Tensor, peak: Tensor, sigma: float) -> Tensor:
    grid = torch.arange(maps.shape[-1], device=maps.device)
    window = ((grid - peak[..., None]).abs() <= math.ceil(4 * sigma)).float()  # (B, J, 2, side)
    mass = maps.clamp_min(0) * window[:, :, 1, :, None] * window[:, :, 0, None, :]
    total = mass.sum((-1, -2))
    center = torch.stack([mass.sum(-2) @ grid.float(), mass.sum(-1) @ grid.float()], -1)
    return torch.where(
        total[..., None] > 0, center / total.clamp_min(1e-30)[..., None], peak.float()
    )


_DECODERS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "argmax": lambda maps, peak, sigma: peak.float(),
    "quarter": _quarter,
    "dark": _dark,
    "softargmax": _softargmax,
}
