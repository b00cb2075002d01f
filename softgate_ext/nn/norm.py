"""Calls of the fused ops with a `torch.nn.BatchNorm2d`, which keep the exact semantics of the module."""

from collections.abc import Callable
from typing import TypeGuard, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F
from torch.nn.modules import module as module_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext import ops
from softgate_ext.errors import InputError

ON_ALL_MODULES = (
    module_hooks._global_forward_hooks,
    module_hooks._global_forward_pre_hooks,
    module_hooks._global_backward_hooks,
    module_hooks._global_backward_pre_hooks,
)

Result = TypeVar("Result")


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module runs more than its class's forward: hooks, or a replaced forward."""
    if "forward" in module.__dict__:
        return True
    forward = module._forward_hooks or module._forward_pre_hooks
    own = forward or module._backward_hooks or module._backward_pre_hooks
    return bool(own) or any(ON_ALL_MODULES)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """A batch norm over the batches of all processes, as `torch.nn.SyncBatchNorm`, also on CPUs.

    DistributedDataParallel refuses torch's own class on a CPU, whatever computes it.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `torch.nn.BatchNorm2d`.
        process_group: the processes whose batches are normalised together; None for all.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: "dist.ProcessGroup | None" = None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group

    @classmethod
    def convert(
        cls, module: nn.Module, process_group: "dist.ProcessGroup | None" = None
    ) -> nn.Module:
        """Replaces every `nn.BatchNorm2d` in `module` by this class.

        Parameters and buffers are the same tensors as before, so that an optimizer keeps them.

        Returns:
            The changed module; a new one if `module` itself is an `nn.BatchNorm2d`.
        """
        if type(module) is nn.BatchNorm2d:
            options = (module.eps, module.momentum, module.affine, module.track_running_stats)
            norm = cls(module.num_features, *options, process_group)
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(norm, name, getattr(module, name))
            return norm.train(module.training)
        for name, child in module.named_children():
            setattr(module, name, cls.convert(child, process_group))
        return module

    def forward(self, x: Tensor) -> Tensor:
        """The batch norm of x, (N, C, H, W), with the dtype and layout of x.

        Raises:
            InputError: a shape, dtype or device does not fit.
        """
        group = synchronises(self)
        if group is None:
            return super().forward(x)
        return with_batch_norm(ops.sync_bn_relu, x, bn=self, relu=False, group=group)


_SYNCHRONISED = (nn.SyncBatchNorm, SyncBatchNorm2d)


def is_fusable(norm: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether the fused ops compute what `norm` computes.

    True for `nn.BatchNorm2d` and its subclasses with the same forward, and for a synchronised batch
    norm while it has nothing to synchronise. Other modules (`GroupNorm`, `Identity`) are called
    unfused. A batch norm with hooks is called unfused too, because only a call of the module runs
    its hooks.
    """
    if isinstance(norm, _SYNCHRONISED):
        return _is_plain_sync(norm) and synchronises(norm) is None
    return _is_plain(norm, nn.BatchNorm2d)


def synchronises(norm: nn.SyncBatchNorm | SyncBatchNorm2d) -> "dist.ProcessGroup | None":
    """The processes over which `norm` now computes its statistics, or None for this process alone."""
    if not (norm.training and dist.is_available() and dist.is_initialized()):
        return None
    group = norm.process_group if norm.process_group is not None else dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def _is_plain(norm: nn.Module, kind: type[nn.Module]) -> bool:
    if getattr(type(norm), "forward", None) is not kind.forward:  # a scripted class has none
        return False
    return not has_hooks(norm)


def _is_plain_sync(norm: nn.Module) -> TypeGuard[nn.SyncBatchNorm | SyncBatchNorm2d]:
    return any(isinstance(norm, kind) and _is_plain(norm, kind) for kind in _SYNCHRONISED)


def with_batch_norm(
    op: Callable[..., Result],
    *inputs: object,
    bn: _BatchNorm,
    relu: bool = True,
    **options: object,
) -> Result:
    """Calls `op` with the statistics, parameters and mode of a batch norm, and updates its buffers.

    Follows `torch.nn.modules.batchnorm._BatchNorm.forward`. Batch statistics are used in training, and
    if there are no running statistics. `num_batches_tracked` counts the calls in training.
    `momentum=None` makes the running statistics the average over these calls.

    Args:
        op: an op of `softgate_ext.ops` whose arguments after `inputs` are those of a batch norm.
        inputs: the op's leading arguments.
        bn: a module for which `is_fusable` holds, or which `op` synchronises.
        relu: whether the op ends with a ReLU.
        options: further keyword arguments of the op.

    Returns:
        The result of `op`.

    Raises:
        InputError: torch.fx traces a norm in training mode, or `op` refuses its input.
    """
    if bn.training and isinstance(inputs[0], Proxy):
        raise InputError(
            "a batch norm must be in evaluation mode to be traced by torch.fx, which would record "
            "no update of its buffers, got one in training mode"
        )
    mean, var, momentum = bn.running_mean, bn.running_var, bn.momentum
    batch_statistics = bn.training or (mean is None and var is None)
    if bn.training and not bn.track_running_stats:
        mean = var = None
    elif bn.training and bn.num_batches_tracked is not None:
        options["num_batches_tracked"] = bn.num_batches_tracked
    if momentum is None and "num_batches_tracked" not in options:
        momentum = 0.0
    norm = dict(training=batch_statistics, momentum=momentum, eps=bn.eps, relu=relu)
    return op(*inputs, mean, var, bn.weight, bn.bias, **norm, **options)


class Deferred(nn.Identity):
    """Replaces a norm that the next convolution computes, with the ReLU, as it loads its input."""


def bn_relu(x: Tensor, norm: nn.Module, *, relu: bool = True) -> Tensor:
    """`relu(norm(x))`, in one op if `norm` is a BatchNorm2d, synchronised or not.

    Args:
        x: (N, C, H, W), float32, float64, float16 or bfloat16.
        norm: any module that takes and returns (N, C, H, W).
        relu: whether the ReLU is applied.

    Returns:
        z, (N, C, H, W), with the dtype and layout of x.

    Raises:
        InputError: a shape, dtype or device does not fit, or torch.fx traces a norm in training mode.
    """
    if isinstance(norm, Deferred):
        return x
    if is_fusable(norm):
        return with_batch_norm(ops.bn_relu, x, bn=norm, relu=relu)
    if _is_plain_sync(norm):
        group = synchronises(norm)
        return with_batch_norm(ops.sync_bn_relu, x, bn=norm, relu=relu, group=group)
    z = norm(x)
    return F.relu(z) if relu else z
