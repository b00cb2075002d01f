"""The pre-activation bottleneck block of the original hourglass, which the baseline uses."""

from torch import Tensor, nn

from softgate_ext.nn import Gate, bn_relu, make_gate
from softgate_ext.nn._pending import Chained, Pending, sum_or_pending


class Bottleneck(Chained):
    """`y = x + f(x)` with f = BN-ReLU-conv1x1, BN-ReLU-conv3x3 (both C/2), BN-ReLU-conv1x1.

    This is the block of Newell et al., "Stacked hourglass networks for human pose estimation", ECCV
    2016, as in their Torch code: convolutions have a bias, and the skip is a plain conv1x1 if the
    number of channels changes. A gate on the skip can be added for comparisons.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        gate: one alpha per "channel", one per "block", or "none".
        alpha_init: initial value of alpha; ignored without a gate.

    Raises:
        InputError: the gate is unknown, or `alpha_init` is not a finite number.
    """

    takes_pending = True

    alpha: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        gate: Gate = "none",
        alpha_init: float = 1.0,
    ):
        super().__init__()
        half = out_channels // 2
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, out_channels, 1)
        self.skip_conv = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )
        self.gate = gate
        self.alpha = make_gate(gate, out_channels, alpha_init)

    def forward(self, x: Tensor | Pending, complete: bool = True) -> Tensor | Pending:
        """Applies the block; arguments and result are those of `SoftGatedBlock.forward`."""
        y, z = Pending.of(x).complete_bn_relu(self.bn1)
        f = self.conv1(z)
        del z  # without autograd, its memory is free for the rest of the block
        f = self.conv2(bn_relu(f, self.bn2))
        f = self.conv3(bn_relu(f, self.bn3))
        if self.skip_conv is not None:
            y = self.skip_conv(y)
        result = Pending(y, (f,), self.alpha)
        return sum_or_pending(self, result, complete)
