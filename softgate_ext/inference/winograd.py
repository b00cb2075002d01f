"""3x3 convolutions by Winograd's F(4x4, 3x3), for inference on the CPU.

A quarter of the multiplications of the direct sum, with the norm and ReLU of the input computed on
load. Activations are stored in float32 or bfloat16; all between is float32. The transforms are those
of the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, "Fast algorithms for convolutional neural
networks", CVPR 2016); the error in float32 is six to seven times that of the direct sum.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from softgate_ext.inference.weights import ScaleShift
from softgate_ext.models.bottleneck import Bottleneck
from softgate_ext.models.hourglass import Up
from softgate_ext.models.hybrid import Stack
from softgate_ext.nn import SoftGatedBlock, bn_relu
from softgate_ext.nn.convolution import is_3x3, is_faster_in
from softgate_ext.nn.norm import Deferred, has_hooks
from softgate_ext.ops.backend import serving

library = torch.library.Library("softgate", "FRAGMENT")
library.define(
    "winograd_conv3x3(Tensor x, Tensor weight, Tensor? scale, Tensor? shift, Tensor? bias, "
    "int channels, int groups) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)

PANEL = 16  # kWinogradPanel of csrc/args.h
_WEIGHTS = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]


def transformed(weight: Tensor, groups: int) -> Tensor:
    """Weights (O, I, 3, 3) as the kernel reads them, (groups, 36, panels, I, PANEL) float32."""
    rows = torch.tensor(_WEIGHTS, dtype=torch.float64, device=weight.device)
    points = torch.einsum("ai,ocij,bj->abco", rows, weight.double(), rows)
    by_group = points.flatten(0, 1).unflatten(-1, (groups, -1)).permute(2, 0, 1, 3)
    whole = functional.pad(by_group, (0, -by_group.shape[-1] % PANEL))
    return whole.unflatten(-1, (-1, PANEL)).transpose(2, 3).float().contiguous()


class WinogradConv(nn.Module):
    """`conv(relu(norm(x)))` for inference, where the kernel serves x; else in two steps.

    The kernel reads weights and bias in float32, as they are when this is made: `conv` may be rounded
    to bfloat16 after that.

    Args:
        conv: 3x3, of stride 1 with a border of 1.
        norm: what is computed of the input first, with a ReLU; None for the input as it is.
    """

    def __init__(self, conv: nn.Conv2d, norm: ScaleShift | None = None):
        super().__init__()
        self.conv, self.norm = conv, norm
        self.register_buffer("points", transformed(conv.weight, conv.groups))
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H, W), channels_last from the kernel."""
        if not self._is_served(x):
            return self.conv(x if self.norm is None else bn_relu(x, self.norm))
        scale, shift = (None, None) if self.norm is None else (self.norm.weight, self.norm.bias)
        conv = self.conv
        return torch.ops.softgate.winograd_conv3x3(
            x, self.points, scale, shift, self.bias, conv.out_channels, conv.groups
        )

    def _is_served(self, x: Tensor) -> bool:
        if x.dtype != self.conv.weight.dtype or not is_faster_in(x.dtype):
            return False
        if self.points.dtype != torch.float32:
            return False
        if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
            return False
        return x.device.type == "cpu" and serving("cpu") == "cpu"


class PointConv(nn.Module):
    """A 1x1 convolution as one product of matrices, pixels by channels.

    Args:
        conv: 1x1, of stride 1, ungrouped.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H, W), in one product where x is channels_last."""
        if not x.is_contiguous(memory_format=torch.channels_last):
            return self.conv(x)
        n, channels, h, w = x.shape
        weight = self.conv.weight.flatten(1).t()
        rows = x.permute(0, 2, 3, 1).view(-1, channels)
        bias = self.conv.bias
        product = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
        return product.view(n, h, w, -1).permute(0, 3, 1, 2)


def use_winograd(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Puts `WinogradConv` and `PointConv` in the place of convolutions that a folded module holds.

    Where the kernels are faster in `dtype`, to which the module is still to be converted; None is
    its own.
    """
    if isinstance(module, SoftGatedBlock):
        for index in (1, 2, 3):
            _replace(module, dtype, f"conv{index}", f"bn{index}")
        _replace(module, dtype, "skip_conv")
    elif isinstance(module, Up):
        _replace(module, dtype, "conv")
    elif isinstance(module, Bottleneck):
        for index in (1, 2, 3):
            _replace(module, dtype, f"conv{index}")
    elif isinstance(module, Stack):
        for name in ("conv", "heatmaps", "feedback_features"):
            _replace(module, dtype, name)


def _replace(
    module: nn.Module, dtype: torch.dtype | None, name: str, norm: str | None = None
) -> None:
    conv = getattr(module, name)
    if (
        type(conv) is not nn.Conv2d
        or has_hooks(conv)
        or not is_faster_in(dtype or conv.weight.dtype)
    ):
        return
    shape = (conv.kernel_size, conv.stride, conv.padding)
    if shape == ((1, 1), (1, 1), (0, 0)) and conv.groups == 1:
        setattr(module, name, PointConv(conv))
    before = None if norm is None else getattr(module, norm)
    if is_3x3(conv) and (before is None or type(before) is ScaleShift):
        setattr(module, name, WinogradConv(conv, before))
        if norm is not None:
            setattr(module, norm, Deferred())


@torch.library.register_fake("softgate::winograd_conv3x3")
def _(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
    channels: int,
    groups: int,
) -> Tensor:
    size = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
