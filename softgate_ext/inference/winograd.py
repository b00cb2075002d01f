"""Convolutions of a folded network on the CPU: 3x3 by Winograd's algorithm, 1x1 as a matrix product."""

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
from softgate_ext.ops.backend import is_transformed, serving
from softgate_ext.ops.conv3x3 import transformed, weight_of
from softgate_ext.ops.eager import wants_gradient


class WinogradConv(nn.Module):
    """`conv(relu(norm(x)))` for inference, in one kernel if it supports x, else in two steps.

    Only the transformed weights are stored, in float32. If x must be convolved directly, the weights
    are transformed back in that call, so that both ways always use the same weights.

    Args:
        conv: a 3x3 convolution of stride 1 and padding 1.
        norm: the norm that is applied to the input, with a ReLU; None for neither.
    """

    points: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, norm: ScaleShift | None = None):
        super().__init__()
        self.channels, self.groups, self.norm = conv.out_channels, conv.groups, norm
        self.register_buffer("points", transformed(conv.weight.detach(), conv.groups))
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H, W), in channels_last if the kernel computed it."""
        scale, shift = (None, None) if self.norm is None else (self.norm.weight, self.norm.bias)
        operands = (x, self.points, scale, shift, self.bias)
        if self._is_served(x) and not wants_gradient(operands):
            return torch.ops.softgate.winograd_conv3x3(*operands, self.channels, self.groups)
        if self.norm is not None:
            x = bn_relu(x, self.norm)
        weight = weight_of(self.points, self.channels).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.conv2d(x, weight, bias, padding=1, groups=self.groups)

    def extra_repr(self) -> str:
        return f"{self.points.shape[3] * self.groups}, {self.channels}, groups={self.groups}"

    def _is_served(self, x: Tensor) -> bool:
        if self.points.dtype != torch.float32 or not is_faster_in(x.dtype):
            return False
        if torch.is_autocast_enabled("cpu") or is_transformed():
            return False
        return x.device.type == "cpu" and serving("cpu") == "cpu"


class PointConv(nn.Module):
    """A 1x1 convolution as one matrix product, pixels by channels.

    Args:
        conv: a 1x1 convolution of stride 1, without groups.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H, W), as a matrix product if x is channels_last."""
        if not x.is_contiguous(memory_format=torch.channels_last):
            return self.conv(x)
        n, channels, h, w = x.shape
        weight = self.conv.weight.flatten(1).t()
        rows = x.permute(0, 2, 3, 1).view(-1, channels)
        bias = self.conv.bias
        product = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
        return product.view(n, h, w, -1).permute(0, 3, 1, 2)


def use_winograd(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Replaces convolutions of a folded module by `WinogradConv` and `PointConv`, if these are faster.

    Args:
        module: the module; its submodules are replaced by calls of their own.
        dtype: the dtype that the module will be converted to, which decides what is faster. None keeps
            the module's own.
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
