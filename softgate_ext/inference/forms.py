"""The inference form of each module of this package: which of its norms are folded, and where.

A folded network consists of the same modules as the model and runs their forwards. Their batch norms
are replaced by scales and shifts, or folded into convolutions.
"""

from collections.abc import Iterator
from functools import singledispatch

from torch import nn

from softgate_ext.inference.weights import conv_with_norm, one_convolution, scale_shift
from softgate_ext.models.bottleneck import Bottleneck
from softgate_ext.models.deeppose import DeepPose, Regressor
from softgate_ext.models.hourglass import Down, Hourglass, Up
from softgate_ext.models.hybrid import HybridNet, Stack, Stem
from softgate_ext.nn import GatedResidualBNReLU, SkipMerge, SoftGatedBlock


@singledispatch
def to_inference(module: nn.Module) -> None:
    """Folds the norms of a module in place; its submodules are folded by calls of their own."""
    raise NotImplementedError(f"{type(module).__name__} has no form for inference")


@to_inference.register(DeepPose)
@to_inference.register(HybridNet)
@to_inference.register(Hourglass)
@to_inference.register(Down)
@to_inference.register(Up)
@to_inference.register(nn.ModuleList)
def _(module: nn.Module) -> None:
    """Unchanged: only its submodules have norms."""


@to_inference.register
def _(stem: Stem) -> None:
    """The norm is folded into the convolution."""
    _move_norm(stem, "conv", "bn")


@to_inference.register
def _(regressor: Regressor) -> None:
    """The norm stays in the op that completes the last block."""
    _scale_norm(regressor, "bn")


@to_inference.register
def _(block: SoftGatedBlock) -> None:
    """The norms stay in the fused ops, because the convolutions are also branches of the sum."""
    for name in ("bn1", "bn2", "bn3", "skip_bn"):
        _scale_norm(block, name)


@to_inference.register
def _(block: Bottleneck) -> None:
    """The second and third norm are folded into the convolutions before them."""
    _scale_norm(block, "bn1")
    _move_norm(block, "conv1", "bn2")
    _move_norm(block, "conv2", "bn3")


@to_inference.register
def _(stack: Stack) -> None:
    """The norm is folded into the convolution, and the two feedback convolutions become one."""
    _move_norm(stack, "conv", "bn")
    one = one_convolution(stack.feedback_features, stack.feedback_heatmaps, stack.heatmaps)
    if one is not None:
        stack.feedback_features, stack.feedback_heatmaps = one, None


@to_inference.register(GatedResidualBNReLU)
@to_inference.register(SkipMerge)
def _(module: nn.Module) -> None:
    """The norm stays in the fused op."""
    _scale_norm(module, "bn")


def _scale_norm(module: nn.Module, name: str) -> None:
    norm = getattr(module, name)
    if norm is not None:
        setattr(module, name, scale_shift(norm))


def _move_norm(module: nn.Module, conv: str, norm: str) -> None:
    merged, rest = conv_with_norm(getattr(module, conv), getattr(module, norm))
    setattr(module, conv, merged)
    setattr(module, norm, rest)


def known_parts(module: nn.Module) -> Iterator[nn.Module]:
    """The module and its submodules, each once, whose forwards `to_inference` knows.

    A module of another class, or one with a replaced forward, is left out with all its submodules,
    because it is not known what its forward reads of them.
    """
    seen, waiting = set(), [module]
    while waiting:
        part = waiting.pop()
        if part in seen or not is_known(part):
            continue
        seen.add(part)
        yield part
        waiting.extend(part.children())


def is_known(module: nn.Module) -> bool:
    """Whether a call of the module runs the forward that `to_inference` was written for."""
    kind = next(cls for cls in type(module).__mro__ if cls in _FORWARDS)
    forward = getattr(type(module), "forward", NotImplemented)  # a scripted module's class has none
    return forward is _FORWARDS[kind] and "forward" not in vars(module)


_FORWARDS = {kind: getattr(kind, "forward", None) for kind in to_inference.registry}
