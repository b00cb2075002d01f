"""How 3x3 convolutions are computed: what the options called `conv` take, and the module that serves both."""

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

LEAST_TILES = 16


class Cut(NamedTuple):
    """The shapes of which the kernels are faster than PyTorch's convolution in training.

    In inference, where weights are transformed once and the norm is computed on load, they are for all
    shapes of a dtype that has a cut: narrower ones are slower by themselves, and faster in a network.
    """

    channels: int  # the fewest of a group, in and out
    kernels: int  # the most for every tile of 4 x 4 results


# The kernels compute in float32 whatever is stored. Vectors of bfloat16 halve the lead that Winograd's
# algorithm has, and what PyTorch emulates is as slow as float32 or slower. Tiles (AMX) are left to PyTorch,
# since no processor that has them was there to measure.
_OF_BF16: dict[Bf16, Cut] = {"emulated": Cut(8, 4096), "vectors": Cut(24, 256)}


def cuts(bf16: Bf16) -> dict[torch.dtype, Cut]:
    """By what activations are stored as, where a processor multiplies bfloat16 so."""
    found = {torch.float32: Cut(8, 4096)}
    return {**found, torch.bfloat16: _OF_BF16[bf16]} if bf16 in _OF_BF16 else found


CUTS = cuts(bf16_on_cpu())


def check_conv(conv: Any) -> None:
    """Refuses what is no `Conv`.

    Raises:
        InputError: it is none.
    """
    if conv not in get_args(Conv):
        raise InputError(f"conv must be 'direct' or 'winograd', got {conv!r}")


class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d`, forward and backward by Winograd's F(4x4, 3x3) where the compiled kernels serve it.

    They serve 3x3 kernels of stride 1 with a border of 1, float32 parameters, and activations on the CPU
    in channels_last, of float32 or under autocast to bfloat16, where that is faster: of 8 or more
    channels a group in and out, and of tiles of 4 x 4 results enough to pay for the transform of the
    weights, 16 and one for every 4096 kernels. Under autocast they store bfloat16 and compute in float32
    with the weights as they are: from 24 channels on, and for a tile for every 256 kernels, where the
    processor multiplies bfloat16 in vectors (AVX512_BF16), and not at all where it does so in tiles
    (AMX) or PyTorch does not say. All else is computed as `nn.Conv2d` does: other dtypes, devices and layouts, the backend
    "reference", forward-mode AD, `torch.func`, torch.fx and `torch.export`. Parameters and their names
    are those of `nn.Conv2d`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if is_3x3(self) and _is_served(input, weight, bias):
            stored = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
            if _pays(input, weight, self.groups, stored):
                return conv3x3(input.to(stored), weight, bias, self.groups)
        return super()._conv_forward(input, weight, bias)


def is_faster_in(dtype: torch.dtype) -> bool:
    """Whether the kernels are faster on this CPU for some shapes, with activations stored in `dtype`."""
    return dtype in CUTS


def use_conv(module: nn.Module, conv: Conv) -> None:
    """Has the 3x3 convolutions in `module` computed by Winograd's algorithm, or directly again.

    Modules, parameters and hooks stay what they are: only their class changes between `nn.Conv2d` and
    `WinogradConv2d`. Subclasses of others are left alone.

    Raises:
        InputError: for an unknown `conv`.
    """
    check_conv(conv)
    for part in module.modules():
        if conv == "winograd" and type(part) is nn.Conv2d and is_3x3(part):
            part.__class__ = WinogradConv2d
        elif conv == "direct" and type(part) is WinogradConv2d:
            part.__class__ = nn.Conv2d  # type: ignore[assignment]


def is_3x3(conv: nn.Conv2d) -> bool:
    """Whether its kernels are of 3x3 and stride 1, with a border of zeros that keeps the size."""
    form = (conv.kernel_size, conv.stride, conv.dilation, conv.padding_mode)
    bordered = conv.padding in ((1, 1), "same")
    return form == ((3, 3), (1, 1), (1, 1), "zeros") and bordered


def _pays(x: Tensor, weight: Tensor, groups: int, stored: torch.dtype) -> bool:
    """Whether the kernels are faster than PyTorch's by what was measured, forward and backward."""
    n, _, h, w = x.shape
    tiles = n * ((h + 3) // 4) * ((w + 3) // 4)
    outputs, inputs = weight.shape[:2]
    if stored not in CUTS or min(inputs, outputs // groups) < CUTS[stored].channels:
        return False
    return tiles >= max(LEAST_TILES, outputs * inputs / CUTS[stored].kernels)


def _is_served(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
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
