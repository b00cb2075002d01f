"""How 3x3 convolutions are computed: what the options called `conv` take, and the module that serves both."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.overrides import has_torch_function

from softgate_ext.errors import InputError
from softgate_ext.ops.backend import serving
from softgate_ext.ops.conv3x3 import conv3x3

Conv = Literal["direct", "winograd"]

LEAST_CHANNELS = 8
LEAST_TILES = 16
KERNELS_OF_A_TILE = 4096


def check_conv(conv: Any) -> None:
    """Refuses what is no `Conv`.

    Raises:
        InputError: it is none.
    """
    if conv not in get_args(Conv):
        raise InputError(f"conv must be 'direct' or 'winograd', got {conv!r}")


class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d`, forward and backward by Winograd's F(4x4, 3x3) where the compiled kernels serve it.

    They serve 3x3 kernels of stride 1 with a border of 1, and float32 activations on the CPU in
    channels_last, where that is faster: of 8 or more channels a group in and out, and of tiles of 4 x 4
    results enough to pay for the transform of the weights, 16 and one for every 4096 kernels. All else
    is computed as `nn.Conv2d` does: autocast, other dtypes, devices and layouts,
    the backend "reference", forward-mode AD, `torch.func`, torch.fx and `torch.export`. Parameters and
    their names are those of `nn.Conv2d`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _is_3x3(self) and _is_served(input, weight, bias) and _pays(input, weight, self.groups):
            return conv3x3(input, weight, bias, self.groups)
        return super()._conv_forward(input, weight, bias)


def use_conv(module: nn.Module, conv: Conv) -> None:
    """Has the 3x3 convolutions in `module` computed by Winograd's algorithm, or directly again.

    Modules, parameters and hooks stay what they are: only their class changes between `nn.Conv2d` and
    `WinogradConv2d`. Subclasses of others are left alone.

    Raises:
        InputError: for an unknown `conv`.
    """
    check_conv(conv)
    for part in module.modules():
        if conv == "winograd" and type(part) is nn.Conv2d and _is_3x3(part):
            part.__class__ = WinogradConv2d
        elif conv == "direct" and type(part) is WinogradConv2d:
            part.__class__ = nn.Conv2d  # type: ignore[assignment]


def _is_3x3(conv: nn.Conv2d) -> bool:
    form = (conv.kernel_size, conv.stride, conv.dilation, conv.padding_mode)
    bordered = conv.padding in ((1, 1), "same")
    return form == ((3, 3), (1, 1), (1, 1), "zeros") and bordered


def _pays(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether the kernels are faster than PyTorch's by what was measured, forward and backward."""
    n, _, h, w = x.shape
    tiles = n * ((h + 3) // 4) * ((w + 3) // 4)
    outputs, inputs = weight.shape[:2]
    few = min(inputs, outputs // groups) < LEAST_CHANNELS
    return not few and tiles >= max(LEAST_TILES, outputs * inputs / KERNELS_OF_A_TILE)


def _is_served(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if isinstance(x, Proxy) or has_torch_function(tensors):
        return False
    if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return False
    if x.device.type != "cpu" or any(t.dtype != torch.float32 for t in tensors) or x.dim() != 4:
        return False
    if torch.is_autocast_enabled("cpu") or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return not torch.compiler.is_exporting() and serving("cpu") == "cpu"
