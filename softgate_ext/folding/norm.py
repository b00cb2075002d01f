"""A batch norm of running statistics as what is left of it: a scale and a shift per channel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softgate_ext import ops
from softgate_ext.ops.schema import accumulator


def scale_and_shift(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """`scale = weight / sqrt(var + eps)` and `shift = bias - mean * scale`, float64 (C,)."""
    scale = torch.rsqrt(var.double() + eps)
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    return scale, shift if bias is None else shift + bias.double()


class ScaleShift(nn.Module):
    """An op of `softgate_ext.ops` whose batch norm is `z = scale * y + shift`.

    The vectors stay float32 beside half activations, or float64 beside float64 ones.

    Args:
        op: `bn_relu`, `gated_residual_bn_relu` or `skip_merge_bn_relu`.
        scale, shift: (C,).
        relu: whether the op ends with a ReLU.
        dtype: of the activations.
    """

    scale: Tensor
    shift: Tensor
    zero: Tensor
    one: Tensor

    def __init__(
        self,
        op: Callable[..., Any],
        scale: Tensor,
        shift: Tensor,
        relu: bool = True,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.op = op
        self.relu = relu
        self.register_buffer("scale", scale.to(accumulator(dtype)))
        self.register_buffer("shift", shift.to(accumulator(dtype)))
        # Statistics that leave a value as it is: the ops ask for some.
        self.register_buffer("zero", torch.zeros_like(self.scale), persistent=False)
        self.register_buffer("one", torch.ones_like(self.scale), persistent=False)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The op's results; `inputs` are its arguments before those of the batch norm."""
        vectors = (self.zero, self.one, self.scale, self.shift)
        return self.op(*inputs, *vectors, eps=0.0, relu=self.relu, **options)

    def extra_repr(self) -> str:
        return f"{self.op.__name__}, {len(self.scale)}, relu={self.relu}"


class ImageNorm(ScaleShift):
    """`scale * x + shift` of images, with what PyTorch's arithmetic allows and the op does not.

    Images may be integers, have one channel for all, or no batch.

    Args:
        scale, shift: (C,).
        dtype: of the results, unless that of the images is wider.
    """

    def __init__(self, scale: Tensor, shift: Tensor, dtype: torch.dtype):
        super().__init__(ops.bn_relu, scale, shift, relu=False, dtype=dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), or what broadcasts with (1, C, 1, 1)."""
        dtype = torch.promote_types(x.dtype, self.dtype)
        if x.dim() == 4 and x.shape[1] == len(self.scale) and x.dtype == dtype:
            return super().forward(x)
        scale, shift = (v.view(1, -1, 1, 1) for v in (self.scale, self.shift))
        return (x * scale + shift).to(dtype)
