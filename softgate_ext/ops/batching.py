"""Batched gradients: how `torch.vmap` and its older form run the backward ops.

The backward op runs once for each sample of the batch of gradients. Two rules are registered for
each op: one for `torch.vmap`, and one for the older dispatch key `Batched`, which
`torch.autograd.grad(..., is_grads_batched=True)` and
`torch.autograd.functional.jacobian(..., vectorize=True)` use.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.schema import LIBRARIES, SCHEMAS


def is_batched(t: Tensor) -> bool:
    """Whether a tensor is one sample of a vmapped batch, and so cannot report its memory layout."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(t) or functorch.is_legacy_batchedtensor(t)


def _map(op: Any, size: int, dims: list[int | None], args: tuple) -> list[Tensor]:
    """The gradients of each of `size` samples, stacked along a first dimension.

    `dims` holds the mapped dimension of each argument, None if all samples share the argument.
    """
    pairs = [*zip(args, dims, strict=True)]
    made = [op(*(a if dim is None else a.select(dim, i) for a, dim in pairs)) for i in range(size)]
    return [torch.stack(same) for same in zip(*made, strict=True)]


def _vmap(op: Any, info: Any, in_dims: tuple, *args: Any) -> tuple[list[Tensor], list[int]]:
    # For a list without tensors vmap gives a list of None in place of a dimension.
    dims = [dim if isinstance(dim, int) else None for dim in in_dims]
    made = _map(op, info.batch_size, dims, args)
    return made, [0] * len(made)


def _batched(op: Any, *args: Any) -> list[Tensor]:
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    # `_remove_batch_dim` puts the mapped dimension first, of size 1 for a tensor that has none.
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
