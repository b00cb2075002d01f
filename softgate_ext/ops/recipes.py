"""`recompute`: training that does not store the outputs of fused norms, but computes them again.

A convolution needs its input in the backward pass, for the gradient of its weights. If that input
is the result z of a fused norm and ReLU, it can be computed from tensors that are stored anyway: the
sum y, the statistics, weight and bias. Within `recompute`, autograd stores a recipe (these tensors
and the op) in place of z, and the backward pass computes z again with the same bits. This saves one
activation and costs one pass over memory. In-place activated batch norm (Rota Bulo et al., CVPR
2018) saves the same activation by inverting the norm.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class _Kept:
    """A saved tensor, with a check that it was not changed in place since.

    PyTorch makes this check for tensors that it saves itself, and leaves it to saved-tensor hooks.
    """

    def __init__(self, t: Tensor):
        self._tensor, self._version = t, t._version

    def __call__(self) -> Tensor:
        if self._tensor._version != self._version:
            raise RuntimeError(
                "a tensor that the backward pass needs was changed in place after the forward pass: "
                f"shape {tuple(self._tensor.shape)}, version {self._tensor._version}, expected "
                f"version {self._version}"
            )
        return self._tensor


class _Recipe:
    """How to compute z again: `op(y, mean, var, weight, bias, False, eps, relu)`."""

    def __init__(
        self, z: Tensor, op: Any, y: Tensor, vectors: tuple[Tensor | None, ...], *rest: Any
    ):
        self._op, self._rest = op, rest
        self._tensors = [None if t is None else _Kept(t.detach()) for t in (y, *vectors)]
        self._of = _traits(z)

    def makes(self, t: Tensor) -> bool:
        """Whether t, which has the address of z, is the whole of z, unchanged."""
        return _traits(t) == self._of

    def __call__(self) -> Tensor:
        with torch.no_grad():
            given = [None if kept is None else kept() for kept in self._tensors]
            z: Tensor = self._op(*given, False, *self._rest)[0]
        return z


def _traits(t: Tensor) -> tuple[Any, ...]:
    return t.shape, t.stride(), t.dtype, t._version


class _Recipes(threading.local):
    """The recipes of all living results of fused norms, by address; None outside of `recompute`."""

    by_address: dict[int, _Recipe] | None = None


_recipes = _Recipes()


def note(z: Tensor, op: Any, y: Tensor, vectors: tuple[Tensor | None, ...], *rest: Any) -> Tensor:
    """Notes the recipe of z as long as z is alive, if `recompute` is active; returns z."""
    if torch.compiler.is_compiling():
        return z
    table = _recipes.by_address
    if table is not None and z.requires_grad and z.numel():
        address = z.data_ptr()
        table[address] = _Recipe(z, op, y, vectors, *rest)
        weakref.finalize(z, table.pop, address, None)
    return z


@contextmanager
def recompute(enabled: bool = True) -> Iterator[None]:
    """Saves memory in training: inside the `with` block, outputs of fused norms are not stored.

    Put it around the forward pass of a model that uses `bn_relu`, `gated_residual_bn_relu` or
    `skip_merge_bn_relu`; converted networks do. The backward pass computes these outputs again. The
    gradients have the same bits. It works with the compiled kernels and with Triton. It has no effect
    on the reference backend, on norms that are synchronised over processes, and under
    `torch.compile`, which plans its own recomputation.

    Args:
        enabled: with False the block has no effect.
    """
    if not enabled or torch.compiler.is_compiling():
        yield
        return
    before = _recipes.by_address
    table: dict[int, _Recipe] = {} if before is None else before

    def pack(t: Tensor) -> _Kept | _Recipe:
        recipe = table.get(t.data_ptr())
        return recipe if recipe is not None and recipe.makes(t) else _Kept(t)

    def unpack(kept: _Kept | _Recipe) -> Tensor:
        return kept()

    _recipes.by_address = table
    try:
        with saved_tensors_hooks(pack, unpack):
            yield
    finally:
        _recipes.by_address = before
