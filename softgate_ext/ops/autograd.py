"""What each op saves for its backward, and which backward op serves it.

Saved: ``y`` (an output anyway), the batch statistics and, only where alpha wants a gradient, ``x``;
no mask, no concatenation, no upsampled copy. A gradient that nobody wants is not computed, one that
two inputs share is written once, and an output that takes part in no loss arrives as None and costs
nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from softgate_ext.backend import is_available
from softgate_ext.errors import InputError
from softgate_ext.ops.schema import LIBRARIES, NAMESPACE, SCHEMAS, layout_of


class Formula(NamedTuple):
    """Of one op; ``ctx.ops`` holds the backward ops that it shall call.

    ``setup(ctx, inputs, output)`` saves; ``backward(ctx, needs, *gradients)`` has one entry per
    input in its second argument and its result, branches as a list.
    """

    setup: Callable
    backward: Callable


FORMULAS: dict[str, Formula] = {}


def _register(name: str, backward, setup_context) -> None:
    """For the op of every namespace; its backward calls the ops of the same one.

    The compiled extension brings its own, ``csrc/autograd.cpp``: a call costs a tenth there.
    """
    FORMULAS[name] = Formula(setup_context, backward)
    for namespace, library in LIBRARIES.items():
        if namespace == NAMESPACE and is_available("cpu"):
            continue
        ops = getattr(torch.ops, namespace)

        def setup(ctx, inputs, output, ops=ops):
            ctx.ops = ops
            setup_context(ctx, inputs, output)

        torch.library.register_autograd(
            f"{namespace}::{name}",
            lambda ctx, *gradients: backward(ctx, ctx.needs_input_grad, *gradients),
            setup_context=setup,
            lib=library,
        )


def _dense(ctx, gradient: Tensor | None) -> Tensor | None:
    """The incoming gradient in the output's layout: expanded and transposed ones are copied."""
    return None if gradient is None else gradient.contiguous(memory_format=ctx.layout)


def _wanted(*needs) -> list[bool]:
    return [any(n) if isinstance(n, Sequence) else bool(n) for n in needs]


def _written(wanted: list[bool], alpha: Tensor | None, split: Sequence[int]) -> list[bool]:
    """Without a gate x and a lone branch have one gradient: it is written once, as x's."""
    shared = alpha is None and len(split) == 1 and wanted[0]
    return [wanted[0], wanted[1] and not shared, *wanted[2:]]


def _spread(grads: list[Tensor], needs: Sequence[bool], written: Sequence[bool], branches: int):
    """The list of a backward op as one entry per input, None where nothing was wanted."""
    rest = iter(grads)
    entries: list = []
    for i, (need, own) in enumerate(zip(needs, written, strict=True)):
        if i != 1:
            entries.append(next(rest) if need else None)
        elif need and not own:
            entries.append([entries[0]])
        else:
            entries.append([next(rest) if need else None for _ in range(branches)])
    return entries


def _statistics(ctx, batch: list[Tensor], running: list[Tensor], training: bool) -> list[Tensor]:
    """Mean and variance that normalised: saved as they are, so that a later update is noticed."""
    ctx.mark_non_differentiable(*(t for t in batch if t is not None))
    return batch if training else running


def _save_gate(ctx, x: Tensor, branches: Sequence[Tensor], alpha: Tensor | None):
    """Notes what the gated sum needs; x itself only for the gradient of alpha."""
    ctx.set_materialize_grads(False)
    ctx.split = [b.shape[1] for b in branches]
    ctx.layout = layout_of(x)
    return (x if alpha is not None and alpha.requires_grad else None), alpha


# gated_residual


def _gated_residual_setup(ctx, inputs, output):
    x, branches, alpha = inputs
    ctx.save_for_backward(*_save_gate(ctx, x, branches, alpha))


def _gated_residual_backward(ctx, needs, dy):
    if dy is None:
        return None, [None] * len(ctx.split), None
    x, alpha = ctx.saved_tensors
    needs = _wanted(*needs)
    written = _written(needs, alpha, ctx.split)
    grads = ctx.ops.gated_residual_backward(_dense(ctx, dy), x, alpha, ctx.split, written)
    return tuple(_spread(grads, needs, written, len(ctx.split)))


_register("gated_residual", _gated_residual_backward, _gated_residual_setup)


# gated_residual_bn_relu


def _gated_residual_bn_relu_setup(ctx, inputs, output):
    x, branches, alpha, *running, weight, bias, training, eps, relu = inputs
    y, _, *batch = output
    mean, var = _statistics(ctx, batch, running, training)
    x, alpha = _save_gate(ctx, x, branches, alpha)
    ctx.save_for_backward(y, x, alpha, mean, var, weight, bias)
    ctx.norm = (training, eps, relu)


def _gated_residual_bn_relu_backward(ctx, needs, dy, dz, dmean, dvar):
    y, x, alpha, mean, var, weight, bias = ctx.saved_tensors
    branches = len(ctx.split)
    needs = _wanted(*needs[:3], *needs[5:7])
    written = _written(needs, alpha, ctx.split)
    if dz is None:
        if dy is None:
            return None, [None] * branches, *[None] * 8
        grads = ctx.ops.gated_residual_backward(_dense(ctx, dy), x, alpha, ctx.split, written[:3])
        return *_spread(grads, needs[:3], written[:3], branches), *[None] * 7
    grads = ctx.ops.gated_residual_bn_relu_backward(
        _dense(ctx, dy), _dense(ctx, dz), y, x, alpha, mean, var, weight, bias, *ctx.norm,
        ctx.split, written,
    )  # fmt: skip
    *source, dweight, dbias = _spread(grads, needs, written, branches)
    return *source, None, None, dweight, dbias, None, None, None


_register("gated_residual_bn_relu", _gated_residual_bn_relu_backward, _gated_residual_bn_relu_setup)


# bn_relu


def _bn_relu_setup(ctx, inputs, output):
    x, *running, weight, bias, training, eps, relu = inputs
    _, *batch = output
    mean, var = _statistics(ctx, batch, running, training)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, mean, var, weight, bias)
    ctx.layout = layout_of(x)
    ctx.norm = (training, eps, relu)


def _bn_relu_backward(ctx, needs, dz, dmean, dvar):
    if dz is None:
        return (None,) * 8
    x, mean, var, weight, bias = ctx.saved_tensors
    needs = _wanted(needs[0], *needs[3:5])
    grads = ctx.ops.bn_relu_backward(_dense(ctx, dz), x, mean, var, weight, bias, *ctx.norm, needs)
    rest = iter(grads)
    dx, dweight, dbias = (next(rest) if need else None for need in needs)
    return dx, None, None, dweight, dbias, None, None, None


_register("bn_relu", _bn_relu_backward, _bn_relu_setup)


# skip_merge


def _save_merge(ctx, skip, alpha, mode, branches):
    ctx.mode = mode
    ctx.channels = skip.shape[1]
    return _save_gate(ctx, skip, branches, alpha)


def _skip_merge_setup(ctx, inputs, output):
    skip, branches, _, alpha, mode = inputs
    ctx.save_for_backward(*_save_merge(ctx, skip, alpha, mode, branches))


def _skip_merge_backward(ctx, needs, dmerged):
    branches = len(ctx.split)
    if dmerged is None:
        return None, [None] * branches, None, None, None
    skip, alpha = ctx.saved_tensors
    needs = _wanted(*needs[:4])
    written = _written(needs, alpha, ctx.split)
    grads = ctx.ops.skip_merge_backward(
        _dense(ctx, dmerged), skip, alpha, ctx.channels, ctx.mode, ctx.split, written
    )
    return *_spread(grads, needs, written, branches), None


_register("skip_merge", _skip_merge_backward, _skip_merge_setup)


# skip_merge_bn_relu


def _skip_merge_bn_relu_setup(ctx, inputs, output):
    skip, branches, _, alpha, *running, weight, bias, training, eps, relu, mode = inputs
    merged, _, *batch = output
    mean, var = _statistics(ctx, batch, running, training)
    skip, alpha = _save_merge(ctx, skip, alpha, mode, branches)
    ctx.save_for_backward(merged, skip, alpha, mean, var, weight, bias)
    ctx.norm = (training, eps, relu)


def _skip_merge_bn_relu_backward(ctx, needs, dmerged, dz, dmean, dvar):
    merged, skip, alpha, mean, var, weight, bias = ctx.saved_tensors
    branches = len(ctx.split)
    needs = _wanted(*needs[:4], *needs[6:8])
    written = _written(needs, alpha, ctx.split)
    if dz is None:
        if dmerged is None:
            return None, [None] * branches, *[None] * 10
        grads = ctx.ops.skip_merge_backward(
            _dense(ctx, dmerged), skip, alpha, ctx.channels, ctx.mode, ctx.split, written[:4]
        )
        return *_spread(grads, needs[:4], written[:4], branches), *[None] * 8
    grads = ctx.ops.skip_merge_bn_relu_backward(
        _dense(ctx, dmerged), _dense(ctx, dz), merged, skip, alpha, mean, var, weight, bias,
        *ctx.norm, ctx.channels, ctx.mode, ctx.split, written,
    )  # fmt: skip
    *source, dweight, dbias = _spread(grads, needs, written, branches)
    return *source, None, None, dweight, dbias, *[None] * 4


_register("skip_merge_bn_relu", _skip_merge_bn_relu_backward, _skip_merge_bn_relu_setup)


# second derivatives


def _refuse_second_derivative(name: str) -> None:
    op = name.removesuffix("_backward")

    def backward(ctx, needs, *_):
        raise InputError(
            f"softgate::{op} has no second derivative: compute it under "
            "softgate_ext.use_backend('reference')"
        )

    _register(name, backward, lambda ctx, inputs, output: None)


for _name in SCHEMAS:
    if _name.endswith("_backward"):
        _refuse_second_derivative(_name)
