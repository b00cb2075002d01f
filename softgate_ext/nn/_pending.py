"""Unfinished sums: what a block hands on so that the next block can finish it within its own op."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext import ops
from softgate_ext.nn.norm import bn_relu, has_hooks, is_fusable, with_batch_norm


class Pending:
    """The unfinished residual `y = alpha * x + cat(branches)`.

    The add that ends a block and the BN-ReLU that opens the next are one op, so a block returns a
    Pending and its consumer completes it with its own batch norm. It is completed once: where
    several consumers read one `y`, the first completes it and the others find it done; a merge takes
    it over, and then there is nothing left to read. Code that calls a module twice with the same
    input, as activation checkpointing does, is to be given the completed sum.

    Args:
        x: (N, C, H, W), the skip connection.
        branches: tensors of (N, C_i, H, W) whose channels add up to C; none leaves `alpha * x`
            to `merge`, or marks an `x` that is complete already.
        alpha: gate of shape (C,) or (1,), or None for 1.
    """

    def __init__(self, x: Tensor, branches: Sequence[Tensor] = (), alpha: Tensor | None = None):
        self.x = x
        self.branches = tuple(branches)
        self.alpha = alpha
        self._used_up = False

    @staticmethod
    def of(x: "Tensor | Pending") -> "Pending":
        """A tensor as a residual with nothing left to do; a Pending as it is."""
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
        """The sum and its normalised activation, in one op where `norm` is a BatchNorm2d.

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
        """This residual as the skip half of a merge with a decoder's half-size features `low`."""
        return PendingMerge(self, low, mode)

    def _check(self) -> None:
        if self._used_up:
            raise RuntimeError("this residual became part of a merge: its sum is read there alone")

    def _use_up(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The unfinished sum, for the one who finishes it; a finished one stays readable."""
        self._check()
        parts = self.x, self.branches, self.alpha
        if not self.is_complete:
            self._used_up = True
            del self.x, self.branches  # released where they are read, whoever else holds this
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
    """The unfinished merge of a skip connection with nearest 2x upsampled features.

    The skip's own residual is completed straight into its half of the merge buffer.

    Args:
        skip: (N, C, H, W), complete or not; an unfinished one is used up here.
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
        self.complete()  # no op merges twice
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
    """A module that may take Pendings for tensors, and return them where it is told not to complete.

    Attributes:
        takes_pending: whether the forward does, and has a keyword argument `complete`, True by
            default. A class says so beside its forward: that of a subclass may keep what it is
            given, as checkpointing does, and sees tensors unless the subclass says it too.
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
    """`module(*inputs)`, unfinished with `complete=False` if the module can leave its sum so.

    Modules with hooks, and what a user has put around or in the place of one of ours
    (checkpointing, adapters), see tensors and return tensors.
    """
    if isinstance(module, Chained) and module.takes_pending and not has_hooks(module):
        return module(*inputs, complete=complete)
    return module(*(Pending.of(x).complete() for x in inputs))


def sum_or_pending(module: nn.Module, result: Tensor | Pending, complete: bool) -> Tensor | Pending:
    """What the forward of `module` returns for a residual: the sum, where it has hooks too.

    Hooks look for tensors, as full backward hooks do, and FSDP's free the module's parameters: a
    gate would be gone before the next block completes the sum with it.
    """
    return Pending.of(result).complete() if complete or has_hooks(module) else result
