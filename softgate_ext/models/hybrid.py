"""The hybrid network: a stem and stacked hourglasses, whose heatmaps are fed into the next one."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import torch
import torch.fx
from torch import Tensor, nn

from softgate_ext import ops
from softgate_ext.errors import InputError
from softgate_ext.models.base import PoseModel
from softgate_ext.models.bottleneck import Bottleneck
from softgate_ext.models.hourglass import Fusion, Hourglass, MakeBlock
from softgate_ext.models.network_options import (
    check_choice,
    check_colours,
    check_numbers,
    check_size,
)
from softgate_ext.models.pool import max_pool_by_2
from softgate_ext.nn import Conv, Gate, SoftGatedBlock, bn_relu, use_conv
from softgate_ext.nn._pending import Chained, Pending, call_chained, sum_or_pending

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Block = Literal["gated", "bottleneck"]
_BLOCKS = {"gated": SoftGatedBlock, "bottleneck": Bottleneck}


class Stem(Chained):
    """A convolution and three blocks, from images to features at a quarter of their height and width.

    The widths are W/4, W/2, W/2 and W.
    """

    takes_pending = True

    mean: Tensor
    std: Tensor

    def __init__(
        self, width: int, make_block: MakeBlock, mean: Sequence[float], std: Sequence[float]
    ):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor([float(v) for v in values]), persistent=False)
        self.conv = nn.Conv2d(3, width // 4, 7, stride=2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(width // 4)
        self.block1 = make_block(width // 4, width // 2)
        self.block2 = make_block(width // 2, width // 2)
        self.block3 = make_block(width // 2, width)

    def forward(self, images: Tensor, complete: bool = True) -> Tensor | Pending:
        """(N, 3, H, H), RGB in [0, 1], to (N, W, H/4, H/4)."""
        # Images may be float32 although the network is in half precision, as under autocast.
        x = self.conv(normalised(images, self.mean, self.std).to(self.conv.weight.dtype))
        x = bn_relu(x, self.bn)
        # The sum is completed here and not in the block, because the block's input is freed by then.
        x = call_chained(self.block1, x, complete=False)
        x = max_pool_by_2(Pending.of(x).complete())
        x = call_chained(self.block2, x, complete=False)
        return sum_or_pending(self, call_chained(self.block3, x, complete=False), complete)


class Stack(Chained):
    """An hourglass, the layers that make heatmaps from it, and those that feed the next stack."""

    takes_pending = True

    def __init__(self, width: int, joints: int, hourglass: Hourglass, last: bool, block: nn.Module):
        super().__init__()
        self.hourglass = hourglass
        self.block = block
        self.conv = nn.Conv2d(width, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.heatmaps = nn.Conv2d(width, joints, 1)
        self.feedback_features = None if last else nn.Conv2d(width, width, 1)
        self.feedback_heatmaps = None if last else nn.Conv2d(joints, width, 1)

    def forward(
        self, x: Tensor | Pending, complete: bool = True
    ) -> tuple[Tensor, Tensor | Pending | None]:
        """(N, W, H, H) to heatmaps (N, J, H, H) and the next stack's input, None in the last stack."""
        x = Pending.of(x)
        features = self.conv(
            call_chained(self.block, call_chained(self.hourglass, x, complete=False))
        )
        features = bn_relu(features, self.bn)
        heatmaps = self.heatmaps(features)
        if self.feedback_features is None:
            return heatmaps, None
        feedback = self.feedback_features(features)
        if self.feedback_heatmaps is not None:  # `fold` makes it part of `feedback_features`
            feedback = feedback + self.feedback_heatmaps(heatmaps)
        return heatmaps, sum_or_pending(self, Pending(x.complete(), (feedback,)), complete)


class HybridNet(PoseModel):
    """Stacked hourglasses with soft-gated blocks and concatenated skip connections.

    Bulat et al., "Toward fast and accurate human pose estimation via soft-gated skip connections", FG
    2020. With `block="bottleneck"`, `fusion="add"`, `gate="none"`, `inner_block=True`, width 256 and 8
    stacks it is the baseline, the hourglass of Newell et al., ECCV 2016.

    Args:
        width: channels W of the features, a multiple of 8.
        stacks: number of hourglasses, each with its own heatmaps.
        depth: levels of an hourglass. Height and width of the images must be divisible by
            `4 * 2 ** depth`.
        groups: groups of the 3x3 convolution that reduces 2W channels to W; a divisor of `width`.
        fusion: how skip connections join the decoder: "concat" (and that convolution) or "add".
        joints: number of heatmaps J.
        gate: one alpha per "channel", one per "block", or "none".
        alpha_init: initial value of the gates.
        block: "gated" (`SoftGatedBlock`) or "bottleneck".
        inner_block: whether there is one more block at the lowest resolution.
        mean, std: mean and standard deviation of the images' red, green and blue in [0, 1], with which
            the network normalises the images.
        recompute: whether training computes the outputs of fused norms again instead of storing them
            (see `softgate_ext.recompute`). It needs less memory, and the results have the same bits.
        conv: "direct" for PyTorch's convolutions, or "winograd" for Winograd's algorithm in 3x3
            convolutions on the CPU in channels_last, which needs a quarter of the multiplications
            (see `softgate_ext.nn.WinogradConv2d`).

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        width: int = 144,
        stacks: int = 4,
        depth: int = 4,
        groups: int = 4,
        fusion: Fusion = "concat",
        joints: int = 16,
        gate: Gate = "channel",
        alpha_init: float = 0.0,
        block: Block = "gated",
        inner_block: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        recompute: bool = False,
        conv: Conv = "direct",
    ):
        super().__init__()
        if not isinstance(recompute, bool):
            raise InputError(f"recompute must be True or False, got {recompute!r}")
        self.recompute = recompute
        check_numbers(width=width, stacks=stacks, depth=depth, groups=groups, joints=joints)
        check_size("width * width * stacks * depth", width * width * stacks * depth)
        if width % 8:
            raise InputError(f"width must be a multiple of 8, got {width}")
        if fusion == "concat" and width % groups:
            raise InputError(f"groups must divide width ({width}), got {groups}")
        check_choice("fusion", fusion, get_args(Fusion))
        check_choice("block", block, get_args(Block))
        check_colours(mean, std)
        self.depth = depth
        self.step = 4 * 2**depth
        given = {**locals(), "mean": list(mean), "std": list(std)}
        options = {name: given[name] for name in inspect.signature(HybridNet).parameters}
        self.config = {"name": "hybrid_4x144", "kwargs": options}
        make_block = partial(_BLOCKS[block], gate=gate, alpha_init=alpha_init)
        self.stem = Stem(width, make_block, mean, std)
        self.stacks = nn.ModuleList(
            Stack(
                width,
                joints,
                Hourglass(width, depth, groups, fusion, inner_block, make_block),
                last=index == stacks - 1,
                block=make_block(width, width),
            )
            for index in range(stacks)
        )
        self.reset_parameters()
        use_conv(self, conv)

    def reset_parameters(self) -> None:
        """He initialisation of the convolutions. Heatmaps start near zero, the mean of the targets.

        Batch norms and gates are not changed.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Stack):
                nn.init.normal_(module.heatmaps.weight, std=0.001)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predicts heatmaps, once per stack; those of the last stack are the network's prediction.

        Args:
            images: (N, 3, H, W), floating point, RGB in [0, 1]; the network normalises them.

        Returns:
            One (N, J, H/4, W/4) tensor per stack.

        Raises:
            InputError: the images have another type or shape, or their height or width is not
                divisible by `step`.
        """
        images = checked_images(images, self.step)
        if not (self.recompute and torch.is_grad_enabled()):
            return self._heatmaps(images)
        with ops.recompute():
            return self._heatmaps(images)

    def _heatmaps(self, images: Tensor) -> list[Tensor]:
        features = call_chained(self.stem, images, complete=False)
        outputs = []
        for stack in self.stacks:
            heatmaps, features = call_chained(stack, features, complete=False)
            outputs.append(heatmaps)
        return outputs


@torch.fx.wrap  # one node of a traced graph, because it asks for dtypes
def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(images - mean) / std`, (N, 3, H, W), in one pass, in the wider dtype of images and mean."""
    images = images.to(torch.promote_types(images.dtype, mean.dtype))
    return ops.bn_relu(images, running_mean=mean, running_var=std.square(), eps=0.0, relu=False)


@torch.fx.wrap  # one node of a traced graph, because it asks for shapes
def checked_images(images: Tensor, step: int) -> Tensor:
    """Checks the images of a network and returns them.

    Raises:
        InputError: they are not (N, 3, H, W) floating point with H and W divisible by `step`.
    """
    if not images.is_floating_point():
        raise InputError(f"images must be floating point in [0, 1], got {str(images.dtype)[6:]}")
    if images.dim() != 4 or images.shape[1] != 3:
        raise InputError(f"images must have shape (N, 3, H, W), got {tuple(images.shape)}")
    height, width = images.shape[2:]
    if height % step or width % step or not height or not width:
        raise InputError(
            f"images must have a height and width divisible by {step}, such as {step}, "
            f"{2 * step} or {4 * step}, got {height} x {width}"
        )
    return images
