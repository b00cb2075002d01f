"""DeepPose: joints regressed from the picture, then refined on sub-crops around each of them."""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional

from softgate_ext.errors import InputError
from softgate_ext.models.base import PoseModel
from softgate_ext.models.hybrid import IMAGENET_MEAN, IMAGENET_STD, Stem, checked_images
from softgate_ext.models.network_options import check_colours, check_numbers, check_size
from softgate_ext.models.pool import max_pool_by_2
from softgate_ext.nn import Conv, Gate, SoftGatedBlock, use_conv
from softgate_ext.nn._pending import Pending, call_chained
from softgate_ext.pose.codec import DECODER, SIGMA, Decoder
from softgate_ext.pose.regression_codec import RegressionCodec

torch.fx.wrap("checked_images")  # a trace takes the names of the module that calls them

GRID = 4  # cells a side that the features are averaged to, whatever the size of the images
FINER = 4  # the side of the images over that of a sub-crop, as the network sees it


class Regressor(nn.Module):
    """Images to numbers: stem, blocks between poolings, two fully connected layers.

    Args:
        width: channels W of the features, a multiple of 8.
        depth: poolings, each followed by a block, below a quarter of the images' size.
        outputs: how many numbers.
        gate, alpha_init: of the blocks.
        mean, std: of the images' colours.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        outputs: int,
        gate: Gate,
        alpha_init: float,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        super().__init__()
        make_block = partial(SoftGatedBlock, gate=gate, alpha_init=alpha_init)
        self.stem = Stem(width, make_block, mean, std)
        self.blocks = nn.ModuleList(make_block(width, width) for _ in range(depth))
        self.bn = nn.BatchNorm2d(width)
        self.hidden = nn.Linear(GRID * GRID * width, 4 * width)
        self.output = nn.Linear(4 * width, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), RGB in [0, 1], to (N, outputs), float32 or wider."""
        x = call_chained(self.stem, images, complete=False)
        for block in self.blocks:
            x = max_pool_by_2(Pending.of(x).complete())
            x = call_chained(block, x, complete=False)
        _, x = Pending.of(x).complete_bn_relu(self.bn)
        x = functional.adaptive_avg_pool2d(x, GRID).flatten(1)
        x = functional.relu(_linear(x, self.hidden.weight, self.hidden.bias))
        return _linear(x, self.output.weight, self.output.bias)


class DeepPose(PoseModel):
    """A cascade of regressors (Toshev and Szegedy, "DeepPose: Human pose estimation via deep neural
    networks", CVPR 2014, arXiv 1312.4659).

    The first stage sees the whole crop and tells the position of every joint, as a share of the
    crop from its centre. Each later stage has weights of its own, sees a sub-crop around each joint
    where the stage before has found it, and tells how far the joint is from there. As in the paper
    such a stage is one network for the sub-crops of all joints, with an output for each joint, of
    which that of the sub-crop's own joint counts.

    It differs from the paper in this. The trunk is of soft-gated blocks, not AlexNet. The stages
    learn at the same time, each from the estimates of the stage before as they are in that step
    and with no gradient between stages, where the paper trains one after another with estimates
    drawn from the errors of the one before. A sub-crop is a fixed share of the crop, which is
    scaled to the person already, in place of a multiple of the torso's diameter; it is cut from
    the network's crop, not from the picture.

    Args:
        width: channels W of the features, a multiple of 8.
        stages: number of regressors; 1 is direct regression without a cascade.
        depth: poolings below a quarter of the size of the images; sub-crops, a quarter of the
            size, have two fewer. Images must be divisible by `4 * 2 ** depth`, and by 16.
        joints: number of joints J.
        view: side of a sub-crop over the side of the crop, more than 0 and at most 1.
        gate: one alpha per "channel", one per "block", or "none".
        alpha_init: initial value of the gates.
        mean, std: of the images' red, green and blue in [0, 1]; the network normalises.
        conv: as in `HybridNet`.

    Raises:
        InputError: for a value out of range.
    """

    gives = "joints"

    def __init__(
        self,
        width: int = 48,
        stages: int = 3,
        depth: int = 3,
        joints: int = 16,
        view: float = 0.5,
        gate: Gate = "channel",
        alpha_init: float = 0.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        conv: Conv = "direct",
    ):
        super().__init__()
        check_numbers(width=width, stages=stages, depth=depth, joints=joints, view=view)
        # The fully connected layers weigh as much as some twenty blocks.
        size = width * width * stages * (depth + 3)
        check_size("width * width * stages * (depth + 3)", size)
        if width % 8:
            raise InputError(f"width must be a multiple of 8, got {width}")
        check_colours(mean, std)
        self.joints, self.view = joints, float(view)
        self.step = 4 * 2 ** max(depth, 2)
        given = {**locals(), "mean": list(mean), "std": list(std)}
        options = {name: given[name] for name in inspect.signature(DeepPose).parameters}
        self.config = {"name": "deeppose_3x48", "kwargs": options}
        self.stages = nn.ModuleList(
            Regressor(width, levels, 2 * joints, gate, alpha_init, mean, std)
            for levels in [depth, *[max(depth - 2, 0)] * (stages - 1)]
        )
        self.reset_parameters()
        use_conv(self, conv)

    def reset_parameters(self) -> None:
        """He initialisation; joints start near the centre, and refined ones where they were."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Regressor):
                nn.init.normal_(module.output.weight, std=0.001)

    def codec(
        self, image_size: int, sigma: float = SIGMA, decoder: Decoder = DECODER
    ) -> RegressionCodec:
        """What joints are for this network; `sigma` and `decoder`, of heatmaps, keep their defaults.

        Raises:
            InputError: one does not.
        """
        for name, value, default in (("sigma", sigma, SIGMA), ("decoder", decoder, DECODER)):
            if value != default:
                raise InputError(
                    f"{name}: got {value} for a network that gives joints, not heatmaps; leave it out"
                )
        return RegressionCodec(image_size)

    def seen_side(self, block: str, image_size: int) -> float:
        """As of any network; the stages that refine are given sub-crops."""
        return image_size if block.startswith("stages.0.") else self.view * image_size

    def forward(self, images: Tensor) -> list[Tensor]:
        """Joints of every stage; the last is the prediction.

        Args:
            images: (N, 3, H, W), floating point, RGB in [0, 1]; the network normalises them.

        Returns:
            One (N, J, 2) tensor a stage, x and y from the centre of the image as shares of its
            width and height: -0.5 is the left or upper edge, 0.5 the other. float32, or float64 of
            a network in float64.

        Raises:
            InputError: for images of another type, shape or of a size that cannot be halved
                often enough.
        """
        images = checked_images(images, self.step)
        outputs: list[Tensor] = []
        for stage in self.stages:
            if not outputs:
                outputs.append(stage(images).unflatten(1, (self.joints, 2)))
                continue
            # A joint is looked for inside of the crop, though it may be found outside.
            at = outputs[-1].detach().clamp(-0.5, 0.5)
            moves = stage(sub_crops(images, at, self.view))
            moves = moves.unflatten(0, (-1, self.joints)).unflatten(2, (self.joints, 2))
            own = moves.diagonal(dim1=1, dim2=2).transpose(1, 2)
            outputs.append(at + self.view * own)
        return outputs


@torch.fx.wrap  # a step of a traced graph: it asks for dtypes and devices
def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A fully connected layer in float32 or wider: positions need more bits than features do."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    has_autocast = torch.amp.is_autocast_available(x.device.type)  # the meta device has none
    with torch.autocast(x.device.type, enabled=False) if has_autocast else nullcontext():
        return functional.linear(x.to(dtype), weight.to(dtype), bias.to(dtype))


@torch.fx.wrap  # a step of a traced graph: it asks for shapes, which a trace does not have
def sub_crops(images: Tensor, centers: Tensor, view: float) -> Tensor:
    """A part of the image around each joint, at a quarter of the image's size.

    Args:
        images: (N, 3, H, W), whose layout the result has too.
        centers: (N, J, 2) as `DeepPose` gives them.
        view: height and width of the part as shares of those of the image.

    Returns:
        (N * J, 3, H / 4, W / 4), bilinear, black outside of the image.
    """
    joints, (height, width) = centers.shape[1], (side // FINER for side in images.shape[2:])
    y, x = (
        (torch.arange(side, device=images.device) + 0.5) * (2 / side) - 1
        for side in (height, width)
    )
    offsets = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    places = 2 * centers[:, :, None, None] + view * offsets  # grid_sample's run from -1 to 1
    wide = torch.promote_types(images.dtype, places.dtype)
    parts = functional.grid_sample(
        images.to(wide), places.flatten(1, 2).to(wide), align_corners=False
    )
    parts = parts.unflatten(2, (joints, height)).transpose(1, 2).flatten(0, 1)
    last = images.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return parts.contiguous(memory_format=layout)
