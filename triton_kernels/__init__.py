"""The ops as Triton kernels: no compiler at install, any GPU that Triton serves.

One file per op family, each in the order forward kernels, backward kernels, launchers; the
launchers have the arguments and results of the schemas in ``softgate_ext.ops.schema``. ``tile``
holds what the kernels share, ``reduction`` the second stage of every sum, ``launch`` the choice of
tiles.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.backward_checks import checked

from . import autotune, launch, merge, norm, reduction, replay, residual
from .launch import tracing
from .merge import (
    skip_merge,
    skip_merge_backward,
    skip_merge_bn_relu,
    skip_merge_bn_relu_backward,
)
from .norm import bn_relu, bn_relu_backward
from .residual import (
    gated_residual,
    gated_residual_backward,
    gated_residual_bn_relu,
    gated_residual_bn_relu_backward,
)

KERNELS = [
    norm._statistics, norm._normalise, norm._sums, norm._backward,
    residual._forward, residual._backward, merge._forward, merge._backward,
    reduction._merge_moments, reduction._norm_sums, reduction._sum_groups,
]  # fmt: skip


def prepared(name: str, without_values: Callable) -> tuple[Callable, Callable]:
    """The op of this name as the dispatcher calls it, and what finds a tape for its arguments.

    Args:
        name: One of the schemas'.
        without_values: Serves tensors that have no values.
    """
    op = checked(globals()[name], name)

    def serve(*args: Any) -> Any:
        given = [a for a in args if isinstance(a, Tensor)]
        if given[0].numel() == 0:
            replay.spoil()
            return without_values(*args)
        return op(*map(_flat, args))

    short = replay.Replayed(serve, launch.guard, launch.surroundings)
    if os.environ.get("SOFTGATE_AUTOTUNE") == "1":
        return autotune.tuned(name, short), lambda args: None
    return short, short.find


def _flat(arg: Any) -> Any:
    """Vectors without gaps: the kernels read them so."""
    if not isinstance(arg, Tensor) or arg.dim() != 1 or arg.layout is not torch.strided:
        return arg
    if arg.is_contiguous():
        return arg
    replay.spoil()
    return arg.contiguous()


__all__ = [
    "KERNELS",
    "bn_relu",
    "bn_relu_backward",
    "gated_residual",
    "gated_residual_backward",
    "gated_residual_bn_relu",
    "gated_residual_bn_relu_backward",
    "prepared",
    "skip_merge",
    "skip_merge_backward",
    "skip_merge_bn_relu",
    "skip_merge_bn_relu_backward",
    "tracing",
]
