"""Pending sums: a block returns the parts of its residual sum, and the next block computes the sum.

The add that ends a block and the BN-ReLU that opens the next block are then one fused op.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext import ops
from softgate_ext.nn.norm import bn_relu, has_hooks, is_fusable, with_batch_norm


class Pending:
    """The pending residual `y = alpha * x + cat(branches)`.

    A block returns a Pending, and its consumer completes it with the consumer's own batch norm. The
    sum is computed once. If several consumers read one `y`, the first one completes it and the others
    find it complete. A merge uses a Pending up: it cannot be read afterwards. Code that calls a module
    twice with the same input, such as activation checkpointing, must be given the completed sum.

    Args:
        x: (N, C, H, W), the skip connection.
        branches: tensors of shape (N, C_i, H, W) whose channels add up to C. Without branches, `x` is
            complete if there is no alpha, and `alpha * x` can only be merged if there is one.
        alpha: the gate, of shape (C,) or (1,), or None for 1.
    """

    def __init__(self, x: Tensor, branches: Sequence[Tensor] = (), alpha: Tensor | None = None):
        self.x = x
        self.branches = tuple(branches)
        self.alpha = alpha
        self._used_up = False

    @staticmethod
    def of(x: "Tensor | Pending") -> "Pending":
        """A complete Pending of a tensor; a Pending is returned unchanged."""
        return x if isinstance(x, Pending) else Pending(x)

    @property
    def is_complete(self) -> bool:
        """Whether `x` is the sum itself."""
        return len(self.branches) == 0 and self.alpha is None

    def complete(self) -> Tensor:
        """The sum `y`, (N, C, H, W)."""
        self._check()
        if not self.is_complete:
            self._settle(self._sum())
        return self.x

    def complete_bn_relu(self, norm: nn.Module, relu: bool = True) -> tuple[Tensor, Tensor]:
        """The sum and its normalised activation, in one op if `is_fusable(norm)`.

        Returns:
            `(y, z)`, both (N, C, H, W), with `z = relu(norm(y))`.
        """
        self._check()
        if self.is_complete or not is_fusable(norm):
            y = self.complete()
            return y, bn_relu(y, norm, relu=relu)
        y, z = self._sum_bn_relu(norm, relu)
        self._settle(y)
        return y, z

    def merge(self, low: Tensor, mode: str) -> "PendingMerge":
        """The pending merge of this residual, as the skip, with the decoder's features `low`."""
        return PendingMerge(self, low, mode)

    def _check(self) -> None:
        if self._used_up:
            raise RuntimeError("this residual became part of a merge: its sum is read there alone")

    def _use_up(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The parts of a pending sum, which can be taken once; a complete sum stays readable."""
        self._check()
        parts = self.x, self.branches, self.alpha
        if not self.is_complete:
            self._used_up = True
            # So that the op's caller can free them although others still hold this object.
            del self.x, self.branches
        return parts

    def _settle(self, y: Tensor) -> None:
        self.x, self.branches, self.alpha = y, (), None

    def _sum(self) -> Tensor:
        return ops.gated_residual(self.x, self.branches, self.alpha)

    def _sum_bn_relu(self, bn: _BatchNorm, relu: bool) -> tuple[Tensor, Tensor]:
        return with_batch_norm(
            ops.gated_residual_bn_relu, self.x, self.branches, self.alpha, bn=bn, relu=relu
        )


class PendingMerge(Pending):
    """The pending merge of a skip connection with nearest 2x upsampled features.

    The op that merges also computes the residual sum of the skip, and stores it directly in the merged
    tensor.

    Args:
        skip: (N, C, H, W), complete or not. A skip that is not complete is used up.
        low: (N, C2, H/2, W/2).
        mode: "concat" (C + C2 channels) or "add" (C channels).
    """

    def __init__(self, skip: Pending, low: Tensor, mode: str):
        super().__init__(*skip._use_up())
        self.low: Tensor | None = low
        self.mode = mode

    @property
    def is_complete(self) -> bool:
        return self.low is None

    def _use_up(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        self.complete()  # no op computes two merges at once
        return super()._use_up()

    def _settle(self, y: Tensor) -> None:
        super()._settle(y)
        self.low = None

    def _sum(self) -> Tensor:
        assert self.low is not None  # an incomplete merge has both halves
        return ops.skip_merge(self.x, self.low, self.alpha, mode=self.mode, branches=self.branches)

    def _sum_bn_relu(self, bn: _BatchNorm, relu: bool) -> tuple[Tensor, Tensor]:
        return with_batch_norm(
            ops.skip_merge_bn_relu,
            self.x,
            self.low,
            self.alpha,
            bn=bn,
            relu=relu,
            mode=self.mode,
            branches=self.branches,
        )


class Chained(nn.Module):
    """A module whose forward may take Pendings, and returns one if `complete=False` is given.

    Attributes:
        takes_pending: whether the forward takes Pendings and has a keyword argument `complete`, True
            by default. A class that defines both sets it to True. A subclass with a forward of its own
            gets tensors unless it sets the attribute again, because that forward may store its
            input, as activation checkpointing does.
    """

    takes_pending = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for owner in cls.__mro__:
            if "takes_pending" in owner.__dict__:
                return
            if "forward" in owner.__dict__:
                cls.takes_pending = False
                return


def call_chained(module: nn.Module, *inputs: Tensor | Pending, complete: bool = True) -> Any:
    """Calls `module(*inputs)`. With `complete=False` the result may be a Pending.

    Modules that have hooks get tensors and return tensors. So do all modules that are not
    `Chained`, such as a user's wrapper or replacement (checkpointing, adapters).
    """
    if isinstance(module, Chained) and module.takes_pending and not has_hooks(module):
        return module(*inputs, complete=complete)
    return module(*(Pending.of(x).complete() for x in inputs))


def sum_or_pending(module: nn.Module, result: Tensor | Pending, complete: bool) -> Tensor | Pending:
    """The result of a module's forward: a tensor if `complete` is set or the module has hooks.

    Hooks expect tensors, as full backward hooks do. FSDP's hooks also free the module's parameters
    after its forward: the gate would be freed before the next block computes the sum with it.
    """
    return Pending.of(result).complete() if complete or has_hooks(module) else result
