"""The ops as Triton kernels, which need no compiler at installation and run on any GPU of Triton.

There is one file per op family, in the order forward kernels, backward kernels, launchers. A launcher
has the name, arguments and results of its schema in ``softgate_ext.ops.schema``, and is called with
checked arguments. ``tile`` holds the parts that all kernels share, ``reduction`` the second stage of
every sum, and ``launch`` the choice of tiles.
"""

import os
from collections.abc import Callable
from typing import Any

from torch import Tensor

from softgate_ext.ops.call_checks import check_call
from softgate_ext.ops.schema import SCHEMAS, Call

from . import autotune, batch_norm, launch, merge, reduction, replay, residual
from .launch import tracing

KERNELS = [
    batch_norm._statistics, batch_norm._normalise, batch_norm._sums, batch_norm._backward,
    residual._forward, residual._backward, merge._forward, merge._backward,
    reduction._merge_moments, reduction._norm_sums, reduction._sum_groups,
]  # fmt: skip


_MODULES = (batch_norm, residual, merge)
LAUNCHERS = {op: f for module in _MODULES for op, f in vars(module).items() if op in SCHEMAS}


def prepared(name: str, without_values: Callable) -> tuple[Callable, Callable]:
    """An op as the dispatcher calls it, and the function that finds a tape for its arguments.

    Args:
        name: the name of the op in the schemas.
        without_values: the op for tensors without values, which no kernel takes.
    """
    op = LAUNCHERS[name]

    def serve(*args: Any) -> Any:
        given = [a for a in args if isinstance(a, Tensor)]
        if given[0].numel() == 0:
            replay.mark_unreplayable()
            return without_values(*args)
        check_call(Call(name, args))
        return op(*map(_flat, args))

    short = replay.Replayed(serve, launch.guard, launch.surroundings)
    if os.environ.get("SOFTGATE_AUTOTUNE") == "1":
        return autotune.tuned(name, short), lambda args: None
    return short, short.find


def _flat(arg: Any) -> Any:
    """Makes a strided vector contiguous, because the kernels read contiguous vectors."""
    if isinstance(arg, Tensor) and arg.dim() == 1 and not arg.is_contiguous():
        replay.mark_unreplayable()
        return arg.contiguous()
    return arg


__all__ = ["KERNELS", "LAUNCHERS", "prepared", "tracing"]
