"""The first steps of every public op: it picks the ops of a backend and matches dtypes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops import checks
from softgate_ext.ops.backend import is_transformed, serving
from softgate_ext.ops.eager import eager_ops
from softgate_ext.ops.reference import Branches
from softgate_ext.ops.schema import NAMESPACE, TRITON_NAMESPACE

_AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")

_compiled, _triton = getattr(torch.ops, NAMESPACE), getattr(torch.ops, TRITON_NAMESPACE)


def ops_for(t: Tensor) -> Any:
    """The ops of the backend that runs on this tensor, or None for the reference.

    The reference also runs under forward-mode AD and the transforms of ``torch.func``, because
    those can differentiate and batch its plain tensor code.

    Raises:
        InputError: a backend is forced that does not support the tensor's device.
    """
    backend = serving(t.device.type)
    if backend == "reference":
        return None
    if torch.compiler.is_compiling():
        return _triton if backend == "triton" else _compiled
    if is_transformed():
        return None
    return eager_ops if backend == "triton" else _compiled


def as_list(branches: Branches | None) -> list[Tensor]:
    """The branches as a list; None gives an empty one."""
    if branches is None:
        return []
    return list(branches) if isinstance(branches, Sequence) else [branches]


def matched(
    first: Tensor, others: Branches, *vectors: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """The first activation and the list of the others, under autocast all in one dtype.

    Under autocast the branches come from convolutions in half precision, while the skip may still
    be float32. The skip is then cast to the dtype of the branches, so that the residual stream
    stays in half precision.

    Raises:
        InputError: an argument is no tensor.
    """
    rest = as_list(others)
    checks.tensors(first, rest, *vectors)
    device = first.device.type
    if rest and device in _AUTOCAST_DEVICES and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        tensors = [first, *rest]
        if any(t.dtype == dtype for t in tensors):
            first, *rest = [t.to(dtype) if t.dtype == torch.float32 else t for t in tensors]
    return first, rest
