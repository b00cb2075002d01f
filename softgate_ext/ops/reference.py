"""The five ops in plain eager PyTorch: the backend "reference".

It is the unfused baseline, runs where no kernel does, and can be differentiated any number of
times. Signatures and results are those of :mod:`softgate_ext.ops`. The tests compare every kernel
with this code in float64.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Branches = Tensor | Sequence[Tensor]


def gated_residual(x: Tensor, branches: Branches, alpha: Tensor | None = None) -> Tensor:
    """``alpha[c] * x + cat(branches)``, in the dtype of x: a float32 alpha is cast to it."""
    f = branches if isinstance(branches, Tensor) else torch.cat(list(branches), dim=1)
    return f + _gate(x, alpha)


def bn_relu(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = True,
) -> Tensor:
    """``relu(batch_norm(x))``; vectors of other dtypes are cast to the accumulation dtype."""
    vectors = (running_mean, running_var, weight, bias)
    if any(v is not None and v.dtype != x.dtype for v in vectors):
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        mean, var, weight, bias = (None if v is None else v.to(wide) for v in vectors)
    else:
        mean, var = running_mean, running_var
    z = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    for kept, updated in ((running_mean, mean), (running_var, var)):
        if training and kept is not None and updated is not None and kept is not updated:
            kept.copy_(updated)
    return F.relu(z) if relu else z


def gated_residual_bn_relu(
    x: Tensor, branches: Branches, alpha: Tensor | None, *norm: Any, **options: Any
) -> tuple[Tensor, Tensor]:
    """``y = gated_residual(...)`` and ``z = relu(batch_norm(y))``, with the options of ``bn_relu``."""
    y = gated_residual(x, branches, alpha)
    return y, bn_relu(y, *norm, **options)


def skip_merge(
    skip: Tensor,
    low: Tensor,
    alpha: Tensor | None = None,
    *,
    mode: str = "concat",
    branches: Branches = (),
) -> Tensor:
    """The gated ``skip`` and the nearest 2x upsampling of ``low``, concatenated or added."""
    empty = not isinstance(branches, Tensor) and len(branches) == 0
    left = _gate(skip, alpha) if empty else gated_residual(skip, branches, alpha)
    if low.numel():
        up = F.interpolate(low, scale_factor=2, mode="nearest")
    else:  # `interpolate` refuses images without pixels
        up = low.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return left + up if mode == "add" else torch.cat([left, up], dim=1)


def skip_merge_bn_relu(
    skip: Tensor,
    low: Tensor,
    alpha: Tensor | None,
    *norm: Any,
    mode: str = "concat",
    branches: Branches = (),
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """``merged = skip_merge(...)`` and ``z = relu(batch_norm(merged))``, with ``bn_relu``'s options."""
    merged = skip_merge(skip, low, alpha, mode=mode, branches=branches)
    return merged, bn_relu(merged, *norm, **options)


def _gate(x: Tensor, alpha: Tensor | None) -> Tensor:
    return x if alpha is None else alpha.to(x.dtype).view(1, -1, 1, 1) * x
