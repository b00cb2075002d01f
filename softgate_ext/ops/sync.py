"""`bn_relu` with batch statistics over all processes, as `torch.nn.SyncBatchNorm`.

The forward and the backward pass have one collective each. Both are functional collectives, so that
``torch.compile(fullgraph=True)`` can trace them. The norm itself is computed by the ordinary ops in
evaluation mode, which take the merged statistics in place of the running statistics.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from softgate_ext.ops import checks, fallback
from softgate_ext.ops.dispatch import ops_for
from softgate_ext.ops.overrides import overridable
from softgate_ext.ops.running import weight_of_batch
from softgate_ext.ops.schema import accumulator, layout_of

if dist.is_available():  # PyTorch may be built without
    import torch.distributed._functional_collectives as collectives


@overridable
def sync_bn_relu(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    training: bool,  # always True: it is here because `with_batch_norm` gives it to every norm
    momentum: float | None,
    eps: float,
    relu: bool,
    group: "dist.ProcessGroup",
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    """``z = relu(batch_norm(x))``, normalised over the batches of all processes of ``group``.

    Every process of the group must call it, also with an empty batch. The sizes of the batches may
    differ. The gradients of ``weight`` and ``bias`` are those of this process's batch, as
    DistributedDataParallel, which averages them, expects.

    Args:
        x: (N, C, H, W). N, H and W may differ between processes.
        running_mean, running_var: (C,), both or neither; updated in place with the statistics of
            all processes.
        group: the processes.

    The other arguments are those of :func:`softgate_ext.ops.gated_residual_bn_relu`.

    Returns:
        z, (N, C, H, W), with the dtype and layout of x.

    Raises:
        InputError: a shape, dtype or device does not fit.
    """
    checks.tensors(x, (), None, running_mean, running_var, weight, bias)
    checks.activation("x", x)
    vectors = dict(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    for name, vector in vectors.items():
        checks.vector(name, vector, x.shape[1], "x", x)
    z, mean, var, count = _SyncBNReLU.apply(x, weight, bias, eps, relu, group)
    if num_batches_tracked is not None:
        num_batches_tracked.add_(1)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            # The count is a tensor: it is known only after the collective, and reading it would
            # synchronise the device.
            share = (count > 0).to(mean.dtype) * weight_of_batch(momentum, num_batches_tracked)
            unbiased = var * (count / (count - 1).clamp(min=1))
            running_mean.lerp_(mean.to(running_mean.dtype), share.to(running_mean.dtype))
            running_var.lerp_(unbiased.to(running_var.dtype), share.to(running_var.dtype))
    return z


class _SyncBNReLU(torch.autograd.Function):
    """Returns z, and the mean, biased variance and count over all processes."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, relu, group):  # type: ignore[override]
        ops = _kernels(x)
        mean, var, count = _merge(_gather(_local(x), group))
        z = ops.bn_relu(x, mean, var, weight, bias, False, eps, relu)[0]
        ctx.save_for_backward(x, mean, var, count, weight, bias)
        ctx.norm, ctx.group = (False, eps, relu), group
        ctx.layout = layout_of(x)  # torch.compile allows this query in a forward only
        ctx.mark_non_differentiable(mean, var, count)
        ctx.set_materialize_grads(False)
        return z, mean, var, count

    @staticmethod
    def backward(ctx, dz, *_):  # type: ignore[override]
        x, mean, var, count, weight, bias = ctx.saved_tensors
        ops = _kernels(x)
        # A process whose z takes part in no loss must still join the collective of the others.
        dz = torch.zeros_like(x) if dz is None else dz.contiguous(memory_format=ctx.layout)
        wide = mean.dtype
        scale = torch.ones_like(mean) if weight is None else weight.to(wide)
        shift = torch.zeros_like(mean) if bias is None else bias.to(wide)
        saved = (mean, var, scale, shift, *ctx.norm)
        local = torch.stack(ops.bn_relu_backward(dz, x, *saved, [False, True, True]))
        dx = None
        if ctx.needs_input_grad[0]:
            total = collectives.wait_tensor(collectives.all_reduce(local, "sum", ctx.group))
            # dx = scale * rstd * (g - dbias / n - normal * dweight / n). The part without g is
            # itself a batch norm of x: one op computes it, and the next adds the part with g.
            rstd = torch.rsqrt(var + ctx.norm[1])
            dweight, dbias = (-scale * rstd * total / count.clamp(min=1)).unbind()
            others = ops.bn_relu(x, mean, var, dweight, dbias, False, ctx.norm[1], False)[0]
            (dx,) = ops.gated_residual_bn_relu_backward(
                others, dz, x, None, None, *saved, [x.shape[1]], [False, True, False, False, False]
            )
        dweight, dbias = local.unbind()
        return (
            dx,
            None if weight is None else dweight.to(weight.dtype),
            None if bias is None else dbias.to(bias.dtype),
            None,
            None,
            None,
        )


def _kernels(x: Tensor) -> Any:
    """The ops of the backend for x; for the reference, the fallback, which has backward ops."""
    return ops_for(x) or fallback.kernels


def _local(x: Tensor) -> Tensor:
    """(2C + 1,): the mean, the sum of squared deviations and the count of this process's batch."""
    dtype = accumulator(x.dtype)
    channels = x.shape[1]
    if x.numel() == 0:
        return x.new_zeros(2 * channels + 1, dtype=dtype)
    var, mean = torch.var_mean(x.to(dtype), (0, 2, 3), correction=0)
    count = x.new_full((1,), x.numel() // channels, dtype=dtype)
    return torch.cat([mean, var * count, count])


def _gather(local: Tensor, group: "dist.ProcessGroup") -> Tensor:
    """The statistics of all processes, (processes, 2C + 1)."""
    # The op is called directly, because the name of its Python function differs between versions.
    ops = torch.ops._c10d_functional
    gathered = ops.all_gather_into_tensor(local[None], group.size(), group.group_name)
    return ops.wait_tensor(gathered)


def _merge(parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, biased variance and count over all processes, the same bits on every process.

    Chan et al., "Algorithms for computing the sample variance", The American Statistician 1983.
    """
    channels = parts.shape[1] // 2
    means, squares, counts = parts.split([channels, channels, 1], dim=1)
    count = counts.sum()
    some = count.clamp(min=1)
    mean = (means * (counts / some)).sum(0)
    deviation = means - mean
    return mean, (squares + counts * deviation.square()).sum(0) / some, count
