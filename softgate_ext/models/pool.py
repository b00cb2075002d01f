"""Max pooling by 2, as the networks of this package pool."""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.nn import functional as F


def max_pool_by_2(x: Tensor) -> Tensor:
    """`F.max_pool2d(x, 2)`, (N, C, H, W) to (N, C, H // 2, W // 2), bit for bit.

    PyTorch's CPU kernel also writes the place of every maximum, 64 bits each, and in the contiguous
    layout goes value by value. Where no gradient asks for the places, two maxima of neighbours,
    rows and then columns, are vectorised. Other devices and compilers have a pooling of one pass.
    """
    if isinstance(x, Proxy) or torch.compiler.is_compiling() or x.device.type != "cpu":
        return F.max_pool2d(x, 2)
    small = x.shape[-1] < 2 or x.shape[-2] < 2  # PyTorch refuses them, in its own words
    if small or x.requires_grad or forward_ad._current_level >= 0:
        return F.max_pool2d(x, 2)
    height, width = (size // 2 * 2 for size in x.shape[-2:])
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])
