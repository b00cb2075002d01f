"""`conv3x3`: the 3x3 convolution of stride 1 with a border of zeros, by Winograd's algorithm in training.

The compiled kernels compute in float32 on the CPU by F(4x4, 3x3) in channels_last: the result, its gradient by
the input (the convolution with turned kernels) and that by the weights (the adjoint of the convolution by its
weights), each with a quarter of the multiplications of the direct sum. Activations are stored in float32 or bfloat16,
parameters and their gradients in float32. Everything else is PyTorch's convolution.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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

_STRIDE_1 = ([1, 1], [1, 1], [1, 1], False, [0, 0])  # with a border and a dilation of 1


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """`torch.nn.functional.conv2d(x, weight, bias, padding=1, groups=groups)` of 3x3 kernels.

    Args:
        x: (N, I, H, W). Beside float32 parameters, bfloat16 too, which the kernels alone take.
        weight: (O, I / groups, 3, 3).
        bias: (O,), or None.
        groups: divides I and O.

    Returns:
        (N, O, H, W) in the dtype of x; channels_last from the kernels. Differentiable any number of times.
    """
    result: Tensor = torch.ops.softgate.conv3x3(x, weight, bias, groups)
    return result


@torch.library.impl(library, "conv3x3", "CompositeExplicitAutograd")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    return torch.ops.aten.convolution(x, weight, bias, *_STRIDE_1, groups)


@torch.library.impl(library, "conv3x3_backward", "CompositeExplicitAutograd")
def _aten_backward(
    dy: Tensor, x: Tensor, weight: Tensor, groups: int, needs: Sequence[bool]
) -> list[Tensor]:
    found = torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], *_STRIDE_1, groups, needs
    )
    return [gradient for gradient in found if gradient is not None]


def _of_kernels(x: Tensor, weight: Tensor) -> bool:
    is_stored = x.dtype in (torch.float32, torch.bfloat16)
    return x.device.type == "cpu" and is_stored and weight.dtype == torch.float32


@torch.library.register_fake("softgate::conv3x3", lib=library)
def _(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    if not _of_kernels(x, weight):
        return torch.ops.aten.convolution(x, weight, bias, *_STRIDE_1, groups)
    alike = [None if t is None else t.to(x.dtype) for t in (weight, bias)]
    y = torch.ops.aten.convolution(x, *alike, *_STRIDE_1, groups)
    return y.contiguous(memory_format=torch.channels_last)


@torch.library.register_fake("softgate::conv3x3_backward", lib=library)
def _(dy: Tensor, x: Tensor, weight: Tensor, groups: int, needs: Sequence[bool]) -> list[Tensor]:
    if not _of_kernels(x, weight):
        return _aten_backward(dy, x, weight, groups, needs)
    made = (
        empty(x, x.shape, torch.channels_last),
        empty(weight, weight.shape, layout_of(weight)),
        weight.new_empty(weight.shape[0]),
    )
    return [gradient for gradient, need in zip(made, needs, strict=True) if need]


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
    """The convolution is linear in x and in weight, so its gradients are of the same two ops."""
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
