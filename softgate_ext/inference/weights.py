"""Arithmetic on weights for inference: norms as scales and shifts, and merged convolutions."""

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from softgate_ext.nn.norm import has_hooks, is_fusable


class ScaleShift(nn.BatchNorm2d):
    """`z = weight * y + bias` per channel: a batch norm with a constant mean of 0 and variance of 1.

    It is a BatchNorm2d, so that the fused ops accept it.

    Args:
        weight, bias: (C,).
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__(len(weight), eps=0.0, affine=False, track_running_stats=False)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.register_buffer("running_mean", torch.zeros_like(weight), persistent=False)
        self.register_buffer("running_var", torch.ones_like(weight), persistent=False)
        self.eval()

    def extra_repr(self) -> str:
        return str(self.num_features)


def scale_shift(norm: nn.Module) -> nn.Module:
    """A batch norm as a ScaleShift in float32 or float64; a norm without constants is unchanged."""
    if not _is_constant(norm):
        return norm
    mean = norm.running_mean
    assert mean is not None
    wide = torch.promote_types(mean.dtype, torch.float32)
    weight, bias = _with_norm(torch.ones_like(mean).view(-1, 1, 1, 1), None, norm)
    return ScaleShift(weight.flatten().to(wide), bias.to(wide))


def conv_with_norm(conv: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A convolution with the batch norm that follows it folded in, and an identity for the norm.

    Nothing but the norm may read the convolution. If they cannot be merged, the convolution is
    unchanged and the norm becomes a ScaleShift.
    """
    if not (_is_plain(conv) and _is_constant(norm)):
        return conv, scale_shift(norm)
    return _convolution(conv, *_with_norm(conv.weight, conv.bias, norm)), nn.Identity()


def one_convolution(
    direct: nn.Module | None, outer: nn.Module | None, inner: nn.Module
) -> nn.Conv2d | None:
    """`direct(x) + outer(inner(x))` as one 1x1 convolution with the weights A + BC.

    Returns:
        The convolution, or None unless all three are plain 1x1 convolutions.
    """
    if not (_is_pointwise(direct) and _is_pointwise(outer) and _is_pointwise(inner)):
        return None
    a, b, c = (conv.weight.double().flatten(1) for conv in (direct, outer, inner))
    bias = sum(conv.bias.double() for conv in (direct, outer) if conv.bias is not None)
    if inner.bias is not None:
        bias = bias + b @ inner.bias.double()
    return _convolution(direct, (a + b @ c).view_as(direct.weight), bias + a.new_zeros(len(a)))


def _with_norm(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias, in float64, of a convolution with the norm that follows folded in."""
    vectors = (bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    bias, mean, var, scale, shift = (None if v is None else v.double() for v in vectors)
    assert mean is not None and var is not None
    return fuse_conv_bn_weights(weight.double(), bias, mean, var, norm.eps, scale, shift)


def _convolution(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    conv, dtype = copy.deepcopy(like), like.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return conv


def _is_constant(norm: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether a norm applies the same scale and shift in every call."""
    if norm.training or not is_fusable(norm) or is_parametrized(norm):
        return False
    return norm.running_mean is not None and norm.running_var is not None


def _is_plain(conv: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether this is PyTorch's convolution, without hooks that see its input or output."""
    return type(conv) is nn.Conv2d and not has_hooks(conv)


def _is_pointwise(conv: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    if not _is_plain(conv) or conv.groups != 1:
        return False
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "valid")
