"""The soft-gated residual block: three concatenated convolutions plus a gated skip connection."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.nn._pending import Chained, Pending, sum_or_pending
from softgate_ext.nn.norm import bn_relu

Gate = Literal["channel", "block", "none"]


def make_gate(gate: Gate, channels: int, alpha_init: float) -> nn.Parameter | None:
    """The learnable gate of a skip connection.

    Returns:
        alpha of shape (channels,) for "channel", (1,) for "block", None (no gate) for "none".

    Raises:
        InputError: `gate` is another value, or `alpha_init` is not a finite number.
    """
    if gate not in get_args(Gate):
        raise InputError(f"gate must be 'channel', 'block' or 'none', got {gate!r}")
    if not isinstance(alpha_init, int | float) or not math.isfinite(alpha_init):
        raise InputError(f"alpha_init must be a finite number, got {alpha_init!r}")
    if gate == "none":
        return None
    return nn.Parameter(torch.full((channels if gate == "channel" else 1,), float(alpha_init)))


class SoftGatedBlock(Chained):
    """`y = alpha * x + cat(f1, f2, f3)`, the pre-activation block with a soft-gated skip connection.

    `f1`, `f2` and `f3` are the outputs of three BN-ReLU-conv3x3 in a row, without bias. They have C/2,
    C/4 and C/4 channels, C being `out_channels`. If `in_channels != out_channels`, the gate acts on a
    BN-ReLU-conv1x1 of the input, with a batch norm of its own.

    Bulat et al., "Toward fast and accurate human pose estimation via soft-gated skip connections",
    FG 2020; the projection is that of the authors' un-gated block (face-alignment, `ConvBlock`).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        gate: one alpha per "channel", one per "block", or "none" (the plain residual).
        alpha_init: initial value of alpha; ignored without a gate.

    Raises:
        InputError: the block cannot have these numbers of channels, the gate is unknown, or
            `alpha_init` is not a finite number.
    """

    takes_pending = True

    alpha: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        gate: Gate = "channel",
        alpha_init: float = 0.0,
    ):
        super().__init__()
        if in_channels < 1:
            raise InputError(f"in_channels must be at least 1, got {in_channels}")
        if out_channels < 4 or out_channels % 4:
            raise InputError(f"out_channels must be a positive multiple of 4, got {out_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        half, quarter = out_channels // 2, out_channels // 4
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.skip_bn: nn.BatchNorm2d | None = None
        self.skip_conv: nn.Conv2d | None = None
        if in_channels != out_channels:
            self.skip_bn = nn.BatchNorm2d(in_channels)
            self.skip_conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.gate = gate
        self.alpha = make_gate(gate, out_channels, alpha_init)

    def forward(self, x: Tensor | Pending, complete: bool = True) -> Tensor | Pending:
        """Applies the block.

        Args:
            x: (N, in_channels, H, W), a tensor or the Pending of the previous block. A Pending is
                completed here, in one op with this block's first batch norm.
            complete: False returns a Pending, unless the block has hooks.

        Returns:
            (N, out_channels, H, W), a tensor or a Pending.
        """
        y, z = Pending.of(x).complete_bn_relu(self.bn1)
        f1 = self.conv1(z)
        del z  # without autograd, its memory is free for the rest of the block
        f2 = self.conv2(bn_relu(f1, self.bn2))
        f3 = self.conv3(bn_relu(f2, self.bn3))
        if self.skip_bn is not None and self.skip_conv is not None:
            y = self.skip_conv(bn_relu(y, self.skip_bn))
        result = Pending(y, (f1, f2, f3), self.alpha)
        return sum_or_pending(self, result, complete)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, gate={self.gate!r}"
