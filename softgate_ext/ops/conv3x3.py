"""The 3x3 convolution of stride 1 and zero padding of 1, by Winograd's algorithm.

The compiled kernels run on the CPU in channels_last. They compute F(4x4, 3x3) in float32, with a quarter of the
multiplications of the direct sum. Activations are stored in float32 or bfloat16, parameters and their gradients in
float32. The transforms use the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016). The error in float32 is six to seven times that of the direct sum.

`conv3x3` is for training and takes ordinary weights. The gradient by the input is a convolution with the kernels
rotated by 180 degrees. The gradient by the weights uses the adjoint of the three transforms. Calls that the
kernels do not support run PyTorch's convolution. `winograd_conv3x3` is for inference. It takes weights that
`transformed` made once, and computes the norm and ReLU of the input as it loads the input.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from softgate_ext.ops import checks
from softgate_ext.ops.backend import is_transformed
from softgate_ext.ops.fake import empty
from softgate_ext.ops.schema import layout_of

library = torch.library.Library("softgate", "FRAGMENT")
library.define(
    "conv3x3(Tensor x, Tensor weight, Tensor? bias, int groups) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# needs: x, weight, bias
library.define(
    "conv3x3_backward(Tensor dy, Tensor x, Tensor weight, int groups, bool[3] needs) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)
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
_STRIDE_1 = ([1, 1], [1, 1], [1, 1], False, [0, 0])  # padding 1, dilation 1, not transposed


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """`torch.nn.functional.conv2d(x, weight, bias, padding=1, groups=groups)` with 3x3 kernels.

    Args:
        x: (N, I, H, W). On the CPU it may be bfloat16 while the parameters are float32.
        weight: (O, I / groups, 3, 3).
        bias: (O,), or None.
        groups: a divisor of I and O.

    Returns:
        (N, O, H, W) in the dtype of x, in channels_last if the kernels computed it. It can be differentiated any
        number of times. Forward-mode AD and the transforms of `torch.func` run PyTorch's convolution.

    Raises:
        InputError: the kernels of `weight` are not 3x3.
    """
    if is_transformed():
        checks.of_3x3(weight)
        bias = None if bias is None else bias.to(x.dtype)
        return functional.conv2d(x, weight.to(x.dtype), bias, padding=1, groups=groups)
    result: Tensor = torch.ops.softgate.conv3x3(x, weight, bias, groups)
    return result


def transformed(weight: Tensor, groups: int) -> Tensor:
    """The weights in the form that `winograd_conv3x3` reads.

    Args:
        weight: (O, I / groups, 3, 3), any floating dtype.
        groups: a divisor of O.

    Returns:
        (groups, 36, panels, I / groups, PANEL), float32, contiguous. 36 are the 6 x 6 points of a tile; a panel
        holds PANEL output channels, the last one padded with zeros.
    """
    rows = torch.tensor(_WEIGHTS, dtype=torch.float64, device=weight.device)
    points = torch.einsum("ai,ocij,bj->abco", rows, weight.double(), rows)
    by_group = points.flatten(0, 1).unflatten(-1, (groups, -1)).permute(2, 0, 1, 3)
    whole = functional.pad(by_group, (0, -by_group.shape[-1] % PANEL))
    return whole.unflatten(-1, (-1, PANEL)).transpose(2, 3).float().contiguous()


def weight_of(points: Tensor, channels: int) -> Tensor:
    """The inverse of `transformed`, up to its rounding: weights of shape (channels, I / groups, 3, 3)."""
    taps = _taps(
        _taps(points.unflatten(1, (6, 6)), 1), 2
    )  # (groups, 3, 3, panels, I / groups, PANEL)
    by_group = taps.permute(0, 3, 5, 4, 1, 2).flatten(1, 2)[:, : channels // len(points)]
    return by_group.flatten(0, 1)


def _taps(points: Tensor, dim: int) -> Tensor:
    """Inverts the weight transform along one dimension: 6 points to 3 taps."""
    first, plus, minus, last = (points.select(dim, at) for at in (0, 1, 2, 5))
    return torch.stack([4 * first, 3 * (minus - plus), last], dim)


@torch.library.impl(library, "conv3x3", "CompositeExplicitAutograd")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    checks.of_3x3(weight)
    return torch.ops.aten.convolution(x, weight, bias, *_STRIDE_1, groups)


@torch.library.impl(library, "conv3x3_backward", "CompositeExplicitAutograd")
def _aten_backward(
    dy: Tensor, x: Tensor, weight: Tensor, groups: int, needs: Sequence[bool]
) -> list[Tensor]:
    checks.of_3x3(weight)
    checks.gradient_of_3x3(dy, x, weight)
    found = torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], *_STRIDE_1, groups, needs
    )
    return [gradient for gradient in found if gradient is not None]


def _of_kernels(x: Tensor, weight: Tensor) -> bool:
    is_stored = x.dtype in (torch.float32, torch.bfloat16)
    return x.device.type == "cpu" and is_stored and weight.dtype == torch.float32


@torch.library.register_fake("softgate::conv3x3", lib=library)
def _(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    checks.of_3x3(weight)
    if not _of_kernels(x, weight):
        return torch.ops.aten.convolution(x, weight, bias, *_STRIDE_1, groups)
    alike = [None if t is None else t.to(x.dtype) for t in (weight, bias)]
    y = torch.ops.aten.convolution(x, *alike, *_STRIDE_1, groups)
    return y.contiguous(memory_format=torch.channels_last)


@torch.library.register_fake("softgate::conv3x3_backward", lib=library)
def _(dy: Tensor, x: Tensor, weight: Tensor, groups: int, needs: Sequence[bool]) -> list[Tensor]:
    checks.of_3x3(weight)
    checks.gradient_of_3x3(dy, x, weight)
    if not _of_kernels(x, weight):
        return _aten_backward(dy, x, weight, groups, needs)
    made = (
        empty(x, x.shape, torch.channels_last),
        empty(weight, weight.shape, layout_of(weight)),
        weight.new_empty(weight.shape[0]),
    )
    return [gradient for gradient, need in zip(made, needs, strict=True) if need]


@torch.library.register_fake("softgate::winograd_conv3x3", lib=library)
def _(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
    channels: int,
    groups: int,
) -> Tensor:
    return empty(x, (x.shape[0], channels, *x.shape[2:]), torch.channels_last)


def _keep(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
    x, weight, _, ctx.groups = inputs
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:3])
    found = iter(torch.ops.softgate.conv3x3_backward(dy, *ctx.saved_tensors, ctx.groups, needs))
    return (*(next(found) if need else None for need in needs), None)


def _keep_all(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
    dy, x, weight, ctx.groups, ctx.needs = inputs
    ctx.save_for_backward(dy, x, weight)


def _second_gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of the backward op. The convolution is linear in x and in weight, so they are calls
    of the same two ops."""
    (dy, x, weight), groups = ctx.saved_tensors, ctx.groups
    given = iter(gradients)
    by_x, by_weight, by_bias = (next(given) if need else None for need in ctx.needs)
    ops = torch.ops.softgate
    parts = []
    if by_x is not None:
        parts.append(ops.conv3x3(by_x, weight, None, groups))
    if by_weight is not None:
        parts.append(ops.conv3x3(x, by_weight, None, groups))
    if by_bias is not None:
        parts.append(by_bias.to(dy.dtype).view(-1, 1, 1).expand_as(dy))
    d_x = d_weight = None
    if by_weight is not None and ctx.needs_input_grad[1]:
        (d_x,) = ops.conv3x3_backward(dy, x, by_weight, groups, [True, False, False])
    if by_x is not None and ctx.needs_input_grad[2]:
        (d_weight,) = ops.conv3x3_backward(dy, by_x, weight, groups, [False, True, False])
    return sum(parts[1:], parts[0]) if parts else None, d_x, d_weight, None, None


torch.library.register_autograd("softgate::conv3x3", _gradients, setup_context=_keep, lib=library)
torch.library.register_autograd(
    "softgate::conv3x3_backward", _second_gradients, setup_context=_keep_all, lib=library
)
