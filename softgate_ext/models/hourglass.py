"""One hourglass: an encoder-decoder with skip connections, as a list of levels down and up."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from softgate_ext.models.pool import max_pool_by_2
from softgate_ext.nn._pending import Chained, Pending, call_chained, sum_or_pending

Fusion = Literal["concat", "add"]
MakeBlock = Callable[[int, int], nn.Module]


class Down(Chained):
    """A level of the encoder: a block on the skip connection, and 2x2 max pooling with a block."""

    takes_pending = True

    def __init__(self, width: int, make_block: MakeBlock):
        super().__init__()
        self.skip = make_block(width, width)
        self.encoder = make_block(width, width)

    def forward(
        self, x: Tensor | Pending, complete: bool = True
    ) -> tuple[Tensor | Pending, Tensor | Pending]:
        """(N, W, H, H) to the skip connection (N, W, H, H) and the features (N, W, H/2, H/2)."""
        x = Pending.of(x)
        skip = call_chained(self.skip, x, complete=False)
        low = call_chained(self.encoder, max_pool_by_2(x.complete()), complete=False)
        return sum_or_pending(self, skip, complete), sum_or_pending(self, low, complete)


class Up(Chained):
    """A level of the decoder: a block, nearest 2x upsampling, fusion with the skip connection.

    "concat" concatenates both to 2W channels, and a grouped 3x3 convolution reduces them to W. "add"
    sums them, as the original hourglass does.
    """

    takes_pending = True

    def __init__(self, width: int, groups: int, fusion: Fusion, make_block: MakeBlock):
        super().__init__()
        self.fusion: Fusion = fusion
        self.decoder = make_block(width, width)
        self.conv = (
            nn.Conv2d(2 * width, width, 3, padding=1, groups=groups, bias=False)
            if fusion == "concat"
            else None
        )

    def forward(
        self, x: Tensor | Pending, skip: Tensor | Pending, complete: bool = True
    ) -> Tensor | Pending:
        """(N, W, H/2, H/2) and its skip connection (N, W, H, H) to (N, W, H, H)."""
        merged = Pending.of(skip).merge(call_chained(self.decoder, x), self.fusion)
        if self.conv is not None:
            return self.conv(merged.complete())
        return sum_or_pending(self, merged, complete)


class Hourglass(Chained):
    """An encoder-decoder of `depth` levels, all of the same width.

    Args:
        width: W, the channels of all features.
        depth: number of levels.
        groups: groups of the convolution after "concat".
        fusion: how a skip connection joins the decoder, "concat" or "add".
        inner_block: whether there is one more block at the lowest resolution.
        make_block: makes a block from its input and output channels.
    """

    takes_pending = True

    def __init__(
        self,
        width: int,
        depth: int,
        groups: int,
        fusion: Fusion,
        inner_block: bool,
        make_block: MakeBlock,
    ):
        super().__init__()
        self.down = nn.ModuleList(Down(width, make_block) for _ in range(depth))
        self.inner = make_block(width, width) if inner_block else None
        self.up = nn.ModuleList(Up(width, groups, fusion, make_block) for _ in range(depth))

    def forward(self, x: Tensor | Pending, complete: bool = True) -> Tensor | Pending:
        """(N, W, H, H) to (N, W, H, H), H divisible by `2 ** depth`."""
        skips = []
        for down in self.down:
            skip, x = call_chained(down, x, complete=False)
            skips.append(skip)
        if self.inner is not None:
            x = call_chained(self.inner, x, complete=False)
        for up in self.up:
            x = call_chained(up, x, skips.pop(), complete=False)
        return sum_or_pending(self, x, complete)
