"""`recompute`: a training step that keeps the sum before a norm, and not what the norm makes of it.

A convolution needs its input again for the gradient of its weights. Behind a fused norm and ReLU that
input is a map of values which are kept anyway: the sum, the statistics, weight and bias. So where a
convolution (or anything else) would keep it, the recipe is kept, and the backward pass cooks it anew,
bit for bit: one pass over memory in exchange for one activation. In-place activated batch norm
(Rota Bulo et al., CVPR 2018) saves the same activation by inverting the norm.
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
    """A tensor that a backward pass needs, as it is now: PyTorch leaves this check to hooks."""

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
    """How z was computed: `op(y, mean, var, weight, bias, False, eps, relu)`."""

    def __init__(
        self, z: Tensor, op: Any, y: Tensor, vectors: tuple[Tensor | None, ...], *rest: Any
    ):
        self._op, self._rest = op, rest
        self._tensors = [None if t is None else _Kept(t.detach()) for t in (y, *vectors)]
        self._of = _traits(z)

    def makes(self, t: Tensor) -> bool:
        """Whether t, which starts where z did, is all of z as it was."""
        return _traits(t) == self._of

    def __call__(self) -> Tensor:
        with torch.no_grad():
            given = [None if kept is None else kept() for kept in self._tensors]
            z: Tensor = self._op(*given, False, *self._rest)[0]
        return z


def _traits(t: Tensor) -> tuple[Any, ...]:
    return t.shape, t.stride(), t.dtype, t._version


class _Recipes(threading.local):
    """The recipes of the activations that are alive, by address; None outside of `recompute`."""

    by_address: dict[int, _Recipe] | None = None


_recipes = _Recipes()


def note(z: Tensor, op: Any, y: Tensor, vectors: tuple[Tensor | None, ...], *rest: Any) -> Tensor:
    """z, whose recipe is known from now on as long as it is alive, within `recompute`."""
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
    """Within it, forward passes keep no activation that a fused norm can compute again.

    Around the forward pass of any model whose norms are this package's (`bn_relu`,
    `gated_residual_bn_relu`, `skip_merge_bn_relu`, converted networks included), with the compiled
    kernels and with Triton's. Gradients are the same bits. On the reference backend, in norms that are
    synchronised over processes and under `torch.compile`, which plans its own recomputation, nothing
    is left out.

    Args:
        enabled: False does nothing.
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
