"""Fewer weights for the same results: batch norms as scales and shifts, convolutions as one."""

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from softgate_ext.nn.norm import has_hooks, is_fusable


class ScaleShift(nn.BatchNorm2d):
    """`z = weight * y + bias` per channel: a batch norm whose statistics are 0 and 1 for good.

    The fused ops take it for the batch norm that it is.

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
    """A batch norm as a scale and a shift, float32 or wider; as it is where it has no constants."""
    if not _is_constant(norm):
        return norm
    mean = norm.running_mean
    assert mean is not None
    wide = torch.promote_types(mean.dtype, torch.float32)
    weight, bias = _with_norm(torch.ones_like(mean).view(-1, 1, 1, 1), None, norm)
    return ScaleShift(weight.flatten().to(wide), bias.to(wide))


def conv_with_norm(conv: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A convolution and the batch norm that alone reads it, as one convolution and no norm.

    Where they cannot be one, the norm is a scale and a shift.
    """
    if not (_is_plain(conv) and _is_constant(norm)):
        return conv, scale_shift(norm)
    return _convolution(conv, *_with_norm(conv.weight, conv.bias, norm)), nn.Identity()


def one_convolution(
    direct: nn.Module | None, outer: nn.Module | None, inner: nn.Module
) -> nn.Conv2d | None:
    """`direct(x) + outer(inner(x))` of 1x1 convolutions as one, `A + BC`; None of others."""
    if not (_is_pointwise(direct) and _is_pointwise(outer) and _is_pointwise(inner)):
        return None
    a, b, c = (conv.weight.double().flatten(1) for conv in (direct, outer, inner))
    bias = sum(conv.bias.double() for conv in (direct, outer) if conv.bias is not None)
    if inner.bias is not None:
        bias = bias + b @ inner.bias.double()
    return _convolution(direct, (a + b @ c).view_as(direct.weight), bias + a.new_zeros(len(a)))


def _with_norm(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Weights of a convolution that are followed by a norm, in float64."""
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
    """Whether a norm computes the same scale and shift in every call."""
    if norm.training or not is_fusable(norm) or is_parametrized(norm):
        return False
    return norm.running_mean is not None and norm.running_var is not None


def _is_plain(conv: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether this is PyTorch's convolution, and nobody looks at what it is given or gives."""
    return type(conv) is nn.Conv2d and not has_hooks(conv)


def _is_pointwise(conv: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    if not _is_plain(conv) or conv.groups != 1:
        return False
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "valid")
