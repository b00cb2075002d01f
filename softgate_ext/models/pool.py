"""2x2 max pooling for the networks, with a faster way for inference on the CPU."""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.nn import functional as F


def max_pool_by_2(x: Tensor) -> Tensor:
    """`F.max_pool2d(x, 2)`, (N, C, H, W) to (N, C, H // 2, W // 2), with the same bits.

    PyTorch's CPU kernel also stores the index of every maximum in 64 bits, and its loop over contiguous
    tensors is not vectorised. If no gradient needs the indices, two vectorised maxima replace it, of
    neighbouring rows and then of neighbouring columns. Other devices and compilers call PyTorch's op.
    """
    if isinstance(x, Proxy) or torch.compiler.is_compiling() or x.device.type != "cpu":
        return F.max_pool2d(x, 2)
    small = x.shape[-1] < 2 or x.shape[-2] < 2  # PyTorch raises its own error for these
    if small or x.requires_grad or forward_ad._current_level >= 0:
        return F.max_pool2d(x, 2)
    height, width = (size // 2 * 2 for size in x.shape[-2:])
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])
