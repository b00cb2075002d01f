"""Several gradients in one backward pass: the backward ops run once for each of them.

`torch.vmap` of a backward pass has its own rule for an op. What is older has another dispatch key:
`torch.autograd.grad(..., is_grads_batched=True)` and `torch.autograd.functional.jacobian(..., vectorize=True)`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.schema import LIBRARIES, SCHEMAS


def is_batched(t: Tensor) -> bool:
    """Whether a tensor is seen one sample at a time, and so cannot tell its layout."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(t) or functorch.is_legacy_batchedtensor(t)


def _map(op: Any, size: int, dims: list[int | None], args: tuple) -> list[Tensor]:
    """The gradients of each of `size` samples, stacked along a first dimension.

    `dims` are the mapped dimensions of the arguments, None where one is the same for all samples.
    """
    pairs = [*zip(args, dims, strict=True)]
    made = [op(*(a if dim is None else a.select(dim, i) for a, dim in pairs)) for i in range(size)]
    return [torch.stack(same) for same in zip(*made, strict=True)]


def _vmap(op: Any, info: Any, in_dims: tuple, *args: Any) -> tuple[list[Tensor], list[int]]:
    # A list that holds no tensor has a list of None for its dimension.
    dims = [dim if isinstance(dim, int) else None for dim in in_dims]
    made = _map(op, info.batch_size, dims, args)
    return made, [0] * len(made)


def _batched(op: Any, *args: Any) -> list[Tensor]:
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    # The mapped dimension comes first; a tensor that has none gets one of size 1.
    peeled = [torch._remove_batch_dim(a, level, 1, 0) if isinstance(a, Tensor) else a for a in args]
    size = max(a.shape[0] for a in peeled if isinstance(a, Tensor))
    own = [a.expand(size, *a.shape[1:]) if isinstance(a, Tensor) else a for a in peeled]
    dims = [0 if isinstance(a, Tensor) else None for a in own]
    return [torch._add_batch_dim(made, 0, level) for made in _map(op, size, dims, tuple(own))]


for _namespace, _library in LIBRARIES.items():
    for _name in SCHEMAS:
        if _name.endswith("_backward"):
            _op = getattr(getattr(torch.ops, _namespace), _name).default
            torch.library.register_vmap(_op, partial(_vmap, _op), lib=_library)
            _library.impl(_name, partial(_batched, _op), "Batched")
