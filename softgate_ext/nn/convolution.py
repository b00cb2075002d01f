"""The choice of the algorithm for 3x3 convolutions, "direct" or "winograd", and the Winograd module."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.overrides import has_torch_function

from softgate_ext.errors import InputError
from softgate_ext.ops.backend import is_transformed, serving
from softgate_ext.ops.conv3x3 import conv3x3
from softgate_ext.ops.processor import Bf16, bf16_on_cpu

Conv = Literal["direct", "winograd"]

LEAST_TILES = 16  # tiles of 4 x 4 results; a smaller call costs more than PyTorch's


class Cut(NamedTuple):
    """The shapes for which the kernels are faster than PyTorch's convolution in training.

    In inference the weights are transformed once, and the norm is computed as the input is loaded. The
    kernels then serve all shapes of a dtype that has a cut. A narrower convolution alone is slower with
    them, but the network as a whole is faster.
    """

    channels: int  # the fewest input and output channels of a group
    kernels: int  # the most 3x3 kernels (O * I / groups) for every tile of 4 x 4 results


# The kernels compute in float32, whatever dtype is stored. Vector instructions for bfloat16 (in PyTorch's
# convolution) halve the lead of Winograd's algorithm; emulated bfloat16 is as slow as float32 or slower.
# With AMX tiles PyTorch's convolution is used, because no such processor was available to measure.
_OF_BF16: dict[Bf16, Cut] = {"emulated": Cut(8, 4096), "vectors": Cut(24, 256)}


def cuts(bf16: Bf16) -> dict[torch.dtype, Cut]:
    """The cut of each dtype that the kernels serve, on a processor that multiplies bfloat16 this way."""
    found = {torch.float32: Cut(8, 4096)}
    return {**found, torch.bfloat16: _OF_BF16[bf16]} if bf16 in _OF_BF16 else found


CUTS = cuts(bf16_on_cpu())


def check_conv(conv: Any) -> None:
    """Checks a value of `Conv`.

    Raises:
        InputError: it is neither "direct" nor "winograd".
    """
    if conv not in get_args(Conv):
        raise InputError(f"conv must be 'direct' or 'winograd', got {conv!r}")


class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d` that runs Winograd's F(4x4, 3x3) forward and backward where that is faster.

    Parameters and their names are those of `nn.Conv2d`. The compiled kernels run if all of this holds:

    - the kernels are 3x3, with stride 1 and zero padding of 1, and the parameters are float32;
    - activations are on the CPU in channels_last, float32 or under autocast to bfloat16;
    - a group has at least 8 input and 8 output channels;
    - there are enough tiles of 4 x 4 results to pay for the transform of the weights: at least 16, and
      at least one for every 4096 kernels.

    Under autocast the kernels store bfloat16 and compute in float32 with the float32 weights. If the
    processor has vector instructions for bfloat16 (AVX512_BF16), a group must then have 24 channels,
    and there must be one tile for every 256 kernels. If it has tile instructions (AMX), or if PyTorch
    cannot tell, PyTorch's convolution runs under autocast.

    Everything else is computed as `nn.Conv2d` does: other dtypes, devices and layouts, the backend
    "reference", forward-mode AD, `torch.func`, torch.fx and `torch.export`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if is_3x3(self) and _is_served(input, weight, bias):
            stored = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
            if _pays(input, weight, self.groups, stored):
                return conv3x3(input.to(stored), weight, bias, self.groups)
        return super()._conv_forward(input, weight, bias)


def is_faster_in(dtype: torch.dtype) -> bool:
    """Whether the kernels are faster on this CPU for some shapes of activations of this dtype."""
    return dtype in CUTS


def use_conv(module: nn.Module, conv: Conv) -> None:
    """Switches the 3x3 convolutions in `module` to Winograd's algorithm, or back.

    Only the class of a convolution changes, between `nn.Conv2d` and `WinogradConv2d`; the module object,
    its parameters and its hooks stay. Other subclasses of `nn.Conv2d` are not changed.

    Args:
        module: changed in place, with all its submodules.
        conv: "winograd" or "direct".

    Raises:
        InputError: `conv` is another value.
    """
    check_conv(conv)
    for part in module.modules():
        if conv == "winograd" and type(part) is nn.Conv2d and is_3x3(part):
            part.__class__ = WinogradConv2d
        elif conv == "direct" and type(part) is WinogradConv2d:
            part.__class__ = nn.Conv2d  # type: ignore[assignment]


def is_3x3(conv: nn.Conv2d) -> bool:
    """Whether a convolution has 3x3 kernels, stride 1, dilation 1 and zero padding that keeps the size."""
    form = (conv.kernel_size, conv.stride, conv.dilation, conv.padding_mode)
    bordered = conv.padding in ((1, 1), "same")
    return form == ((3, 3), (1, 1), (1, 1), "zeros") and bordered


def _pays(x: Tensor, weight: Tensor, groups: int, stored: torch.dtype) -> bool:
    """Whether the kernels are faster than PyTorch's in forward and backward, by the measured cuts."""
    n, _, h, w = x.shape
    tiles = n * ((h + 3) // 4) * ((w + 3) // 4)
    outputs, inputs = weight.shape[:2]
    if stored not in CUTS or min(inputs, outputs // groups) < CUTS[stored].channels:
        return False
    return tiles >= max(LEAST_TILES, outputs * inputs / CUTS[stored].kernels)


def _is_served(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernels support the call: device, layout, dtypes, autocast and tracing."""
    parameters = (weight,) if bias is None else (weight, bias)
    if isinstance(x, Proxy) or has_torch_function((x, *parameters)) or is_transformed():
        return False
    taken = [torch.float32]
    if torch.is_autocast_enabled("cpu"):
        if torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return False
        taken.append(torch.bfloat16)
    if x.device.type != "cpu" or x.dtype not in taken or x.dim() != 4:
        return False
    if any(p.dtype != torch.float32 for p in parameters):
        return False
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return not torch.compiler.is_exporting() and serving("cpu") == "cpu"
