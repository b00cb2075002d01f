"""Max pooling for inference."""

import torch
from torch import Tensor
from torch.nn import functional as F


def max_pool_by_2(x: Tensor) -> Tensor:
    """`F.max_pool2d(x, 2)`, (N, C, H, W) to (N, C, H // 2, W // 2), bit for bit.

    PyTorch's CPU kernel also writes the place of every maximum, 64 bits each, and in the contiguous
    layout goes value by value. Two maxima of neighbours, rows and then columns, are vectorised.
    Other devices and compilers have a pooling of one pass.
    """
    small = x.shape[-1] < 2 or x.shape[-2] < 2  # PyTorch refuses them, in its own words
    if x.device.type != "cpu" or torch.compiler.is_compiling() or small:
        return F.max_pool2d(x, 2)
    height, width = (size // 2 * 2 for size in x.shape[-2:])
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])
