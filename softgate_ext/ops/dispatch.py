"""Which ops serve a call, and the one dtype that its activations get under autocast."""

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
    """The ops of the backend that serves a tensor; None is the reference.

    It serves the transforms of ``torch.func`` too, which differentiate and batch its plain code,
    and forward-mode differentiation.
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
    if branches is None:
        return []
    return list(branches) if isinstance(branches, Sequence) else [branches]


def matched(
    first: Tensor, others: Branches, *vectors: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """The branches as a list; under autocast all in one dtype, as PyTorch's own ops would have it.

    Convolutions hand over half tensors there, while a skip that no autocast op has touched is still
    float32: it takes the dtype of the others instead of widening the whole residual stream.
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
