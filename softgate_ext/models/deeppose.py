"""DeepPose: a network that regresses the joints from an image, then refines each on a sub-crop."""

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

torch.fx.wrap("checked_images")  # torch.fx needs this in every module that calls the function

GRID = 4  # the features are averaged to GRID x GRID cells, for images of any size
FINER = (
    4  # the side of an image over the side of a sub-crop, both as the network sees them, in pixels
)


class Regressor(nn.Module):
    """A network from images to numbers: stem, poolings with blocks, two fully connected layers.

    Args:
        width: channels W of the features, a multiple of 8.
        depth: number of poolings after the stem, each followed by a block.
        outputs: number of outputs.
        gate, alpha_init: the gate of the blocks and its initial value.
        mean, std: mean and standard deviation of the images' red, green and blue.
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
        """(N, 3, H, W), RGB in [0, 1], to (N, outputs), float32 or float64."""
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

    The first stage sees the whole crop and predicts the position of every joint, relative to the
    centre of the crop. Each later stage has weights of its own. It sees a sub-crop around each joint,
    centred where the previous stage found the joint, and predicts the offset of the joint from that
    centre. As in the paper, such a stage is one network for the sub-crops of all joints. It has an
    output for each joint, and only the output of the sub-crop's own joint is used.

    The network differs from the paper in three ways. The trunk consists of soft-gated blocks instead
    of AlexNet. All stages are trained at the same time, each with the current estimates of the
    previous stage and without a gradient between stages; the paper trains one stage after another, on
    estimates that are drawn from the error distribution of the previous stage. A sub-crop is a fixed
    share of the network's crop, which is scaled to the person already; the paper cuts it from the
    image, with a side that is a multiple of the torso's diameter.

    Args:
        width: channels W of the features, a multiple of 8.
        stages: number of regressors; 1 is direct regression without a cascade.
        depth: number of poolings after the stem in the first stage. Later stages have two fewer,
            because a sub-crop is a quarter as high and wide. Height and width of the images must be
            divisible by `4 * 2 ** depth`, and by 16.
        joints: number of joints J.
        view: side of a sub-crop over the side of the crop, more than 0 and at most 1.
        gate: one alpha per "channel", one per "block", or "none".
        alpha_init: initial value of the gates.
        mean, std: mean and standard deviation of the images' red, green and blue in [0, 1], with which
            the network normalises the images.
        conv: as in `HybridNet`.

    Raises:
        InputError: a value is out of range.
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
        # The 3 stands for the fully connected layers, which have many more parameters than a block.
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
        """He initialisation. The outputs start near zero: at the centre of the crop or sub-crop."""
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
        """The codec between joints and this network's outputs.

        Args:
            image_size: side of the square crops, in pixels.
            sigma, decoder: options of heatmaps, which must keep their defaults here.

        Raises:
            InputError: `sigma` or `decoder` differs from its default.
        """
        for name, value, default in (("sigma", sigma, SIGMA), ("decoder", decoder, DECODER)):
            if value != default:
                raise InputError(
                    f"{name}: got {value} for a network that gives joints, not heatmaps; leave it out"
                )
        return RegressionCodec(image_size)

    def seen_side(self, block: str, image_size: int) -> float:
        """As in `PoseModel`; blocks of the later stages see sub-crops."""
        return image_size if block.startswith("stages.0.") else self.view * image_size

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predicts the joints, once per stage; the last stage's are the network's prediction.

        Args:
            images: (N, 3, H, W), floating point, RGB in [0, 1]; the network normalises them.

        Returns:
            One (N, J, 2) tensor per stage: x and y from the centre of the image, divided by its width
            and height. -0.5 is the left or upper edge, 0.5 the right or lower edge. The dtype is
            float32, or float64 for a network in float64.

        Raises:
            InputError: the images have another type or shape, or their height or width is not
                divisible by `step`.
        """
        images = checked_images(images, self.step)
        outputs: list[Tensor] = []
        for stage in self.stages:
            if not outputs:
                outputs.append(stage(images).unflatten(1, (self.joints, 2)))
                continue
            # Sub-crops are centred inside the crop, but the joint may be found outside of it.
            at = outputs[-1].detach().clamp(-0.5, 0.5)
            moves = stage(sub_crops(images, at, self.view))
            moves = moves.unflatten(0, (-1, self.joints)).unflatten(2, (self.joints, 2))
            own = moves.diagonal(dim1=1, dim2=2).transpose(1, 2)
            outputs.append(at + self.view * own)
        return outputs


@torch.fx.wrap  # one node of a traced graph, because it asks for dtypes and devices
def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A fully connected layer in float32 or float64; half precision is too coarse for positions."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    has_autocast = torch.amp.is_autocast_available(x.device.type)  # the meta device has no autocast
    with torch.autocast(x.device.type, enabled=False) if has_autocast else nullcontext():
        return functional.linear(x.to(dtype), weight.to(dtype), bias.to(dtype))


@torch.fx.wrap  # one node of a traced graph, because it asks for shapes
def sub_crops(images: Tensor, centers: Tensor, view: float) -> Tensor:
    """Cuts a sub-crop around each joint, and samples it at a quarter of the image's height and width.

    Args:
        images: (N, 3, H, W), contiguous or channels_last.
        centers: (N, J, 2), joints in the coordinates of `DeepPose`.
        view: height and width of a sub-crop as shares of those of the image.

    Returns:
        (N * J, 3, H / 4, W / 4) in the layout of `images`, sampled bilinearly, zero outside of the
        image.
    """
    joints, (height, width) = centers.shape[1], (side // FINER for side in images.shape[2:])
    y, x = (
        (torch.arange(side, device=images.device) + 0.5) * (2 / side) - 1
        for side in (height, width)
    )
    offsets = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    places = 2 * centers[:, :, None, None] + view * offsets  # from -1 to 1, as grid_sample takes
    wide = torch.promote_types(images.dtype, places.dtype)
    parts = functional.grid_sample(
        images.to(wide), places.flatten(1, 2).to(wide), align_corners=False
    )
    parts = parts.unflatten(2, (joints, height)).transpose(1, 2).flatten(0, 1)
    last = images.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return parts.contiguous(memory_format=layout)
