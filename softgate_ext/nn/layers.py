"""The fused ops as modules with a batch norm and a gate of their own."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.nn._pending import Pending
from softgate_ext.nn.block import Gate, make_gate

MergeMode = Literal["concat", "add"]


class GatedResidualBNReLU(nn.Module):
    """`y = alpha * x + cat(branches)`, `z = relu(bn(y))`, in one op.

    For pre-activation networks: `y` is the residual stream, and `z` the input of the next convolution.

    Args:
        channels: C, the channels of `x`.
        gate: one alpha per "channel", one per "block", or "none".
        alpha_init: initial value of alpha.
        eps, momentum, affine, track_running_stats: as in `torch.nn.BatchNorm2d`.
        relu: whether the ReLU is applied.

    Raises:
        InputError: the gate is unknown, or `alpha_init` is not a finite number.
    """

    alpha: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        gate: Gate = "channel",
        alpha_init: float = 0.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        relu: bool = True,
    ):
        super().__init__()
        self.gate = gate
        self.alpha = make_gate(gate, channels, alpha_init)
        self.bn = nn.BatchNorm2d(channels, eps, momentum, affine, track_running_stats)
        self.relu = relu

    def forward(self, x: Tensor, branches: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Applies the module.

        Args:
            x: (N, C, H, W).
            branches: one tensor of C channels, or up to four tensors whose channels add up to C.

        Returns:
            `(y, z)`, both (N, C, H, W), with the dtype and layout of `x`.

        Raises:
            InputError: a shape, dtype or device does not fit.
        """
        return gated_residual_bn_relu(x, branches, self.alpha, self.bn, relu=self.relu)

    def extra_repr(self) -> str:
        return f"gate={self.gate!r}, relu={self.relu}"


def gated_residual_bn_relu(
    x: Tensor,
    branches: Tensor | Sequence[Tensor],
    alpha: Tensor | None,
    norm: nn.Module,
    *,
    relu: bool = True,
) -> tuple[Tensor, Tensor]:
    """`y = alpha * x + cat(branches)`, `z = relu(norm(y))`, in one op if `norm` is a BatchNorm2d.

    Unlike the op of this name it takes a norm module: its statistics, parameters, mode, momentum and eps.
    A norm with hooks, or of another class, is called as a module.

    Args:
        x: (N, C, H, W), float32, float64, float16 or bfloat16.
        branches: one tensor of C channels, or up to four tensors whose channels add up to C.
        alpha: (C,) one gate per channel, (1,) one gate for all, or None (= 1).
        norm: any module that takes and returns (N, C, H, W).
        relu: whether the ReLU is applied.

    Returns:
        `(y, z)`, both (N, C, H, W), with the dtype and layout of `x`.

    Raises:
        InputError: a shape, dtype or device does not fit, or torch.fx traces a norm in training mode.
    """
    parts = branches if isinstance(branches, Sequence) else (branches,)
    return Pending(x, parts, alpha).complete_bn_relu(norm, relu)


class SkipMerge(nn.Module):
    """Merges an encoder's gated skip connection with nearest 2x upsampled decoder features.

    Args:
        skip_channels: C of the skip connection.
        low_channels: C2 of the decoder features; None is `skip_channels`.
        mode: "concat" (C + C2 channels) or "add" (C channels, C2 = C).
        gate: one alpha per "channel" of the skip, one per "block", or "none".
        alpha_init: initial value of alpha; with 1 the merge starts as one without a gate.
        bn_relu: whether a batch norm and a ReLU of the merged features are computed too.
        eps, momentum, affine, track_running_stats: as in `torch.nn.BatchNorm2d`.

    Raises:
        InputError: the mode or gate is unknown, `alpha_init` is not a finite number, or the
            channels differ in mode "add".
    """

    alpha: nn.Parameter | None

    def __init__(
        self,
        skip_channels: int,
        low_channels: int | None = None,
        mode: MergeMode = "concat",
        gate: Gate = "channel",
        alpha_init: float = 1.0,
        bn_relu: bool = False,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        low_channels = skip_channels if low_channels is None else low_channels
        if mode not in get_args(MergeMode):
            raise InputError(f"mode must be 'concat' or 'add', got {mode!r}")
        if mode == "add" and low_channels != skip_channels:
            raise InputError(
                f"low_channels must equal skip_channels ({skip_channels}) in mode 'add', "
                f"got {low_channels}"
            )
        self.mode: MergeMode = mode
        self.gate = gate
        self.alpha = make_gate(gate, skip_channels, alpha_init)
        self.out_channels = skip_channels + (low_channels if mode == "concat" else 0)
        self.bn = (
            nn.BatchNorm2d(self.out_channels, eps, momentum, affine, track_running_stats)
            if bn_relu
            else None
        )

    def forward(
        self, skip: Tensor, low: Tensor, branches: Tensor | Sequence[Tensor] = ()
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Applies the module.

        Args:
            skip: (N, C, H, W).
            low: (N, C2, H/2, W/2).
            branches: up to four tensors whose channels add up to C, concatenated and added to
                the gated skip.

        Returns:
            The merged features (N, C + C2 or C, H, W); with `bn_relu`, `(merged, z)` of that shape.

        Raises:
            InputError: a shape, dtype or device does not fit.
        """
        parts = branches if isinstance(branches, Sequence) else (branches,)
        merge = Pending(skip, parts, self.alpha).merge(low, self.mode)
        return merge.complete() if self.bn is None else merge.complete_bn_relu(self.bn)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}, gate={self.gate!r}, out_channels={self.out_channels}"
