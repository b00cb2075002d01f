"""What an op saves for its backward, and which backward op serves it, for every op at once.

Saved: ``y`` (an output anyway), the batch statistics and, only where alpha wants a gradient, ``x``;
no mask, no concatenation, no upsampled copy. A gradient that nobody wants is not computed, one that
two inputs share is written once, and an output that takes part in no loss arrives as None and costs
nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.ops.backend import is_available
from softgate_ext.ops.schema import (
    GIVES,
    LIBRARIES,
    NAMESPACE,
    SCHEMAS,
    TAKES,
    differentiable,
    layout_of,
)


class Formula:
    """Of one forward op; ``ctx.ops`` holds the backward ops that it shall call."""

    def __init__(self, op: str):
        self.op, self.takes, self.gives = op, [*TAKES[op]], GIVES[op]
        self.learnt = differentiable(op)
        self.places = [self.takes.index(name) for name in self.learnt]
        # Where z takes part in no loss, the op without a norm has the gradients of y.
        self.without_z = op.removesuffix("_bn_relu")

    def setup(self, ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        """Notes what the backward needs."""
        given = dict(zip(self.takes, inputs, strict=True))
        made = dict(zip(self.gives, output if len(self.gives) > 1 else (output,), strict=True))
        x, alpha = given["x"], given.get("alpha")
        ctx.set_materialize_grads(False)
        ctx.layout = layout_of(x)
        kept = dict.fromkeys(_SAVED)
        kept["alpha"] = alpha
        if alpha is not None and alpha.requires_grad:
            kept["x"] = x
        ctx.constants = {k: given[k] for k in _CONSTANTS if k in given}
        if "branches" in given:
            ctx.constants["split"] = [b.shape[1] for b in given["branches"]]
            ctx.constants["channels"] = x.shape[1]
        if "z" in made:
            batch = made["mean"], made["var"]
            ctx.mark_non_differentiable(*(t for t in batch if t is not None))
            # Saved as they are, so that a later update of running ones is noticed.
            running = given["running_mean"], given["running_var"]
            kept["mean"], kept["var"] = batch if given["training"] else running
            kept["y"] = made.get("y", x)
            kept["weight"], kept["bias"] = given["weight"], given["bias"]
        ctx.save_for_backward(*kept.values())

    def backward(self, ctx: Any, needs: Sequence[Any], *gradients: Tensor | None) -> tuple:
        """One entry per input, branches as a list, as ``needs`` has them."""
        split = ctx.constants.get("split", ())
        entries: list[Any] = [None] * len(self.takes)
        if "branches" in self.takes:
            entries[1] = [None] * len(split)
        given = {**ctx.constants, **dict(zip(_SAVED, ctx.saved_tensors, strict=True))}
        for name, gradient in zip(self.gives, gradients, strict=True):
            if gradient is not None:  # expanded and transposed ones are copied
                gradient = gradient.contiguous(memory_format=ctx.layout)
            given["d" + name] = gradient
        if given.get("dz") is not None:
            op = self.op
        elif given.get("dy") is not None:
            op = self.without_z
        else:
            return tuple(entries)
        learnt = differentiable(op)
        wanted = [_any(needs[i]) for _, i in zip(learnt, self.places, strict=False)]
        # Without a gate x and a lone branch have one gradient: it is written once, as x's.
        shared = len(split) == 1 and given["alpha"] is None and wanted[0]
        given["needs"] = [wanted[0], wanted[1] and not shared, *wanted[2:]]
        arguments = [given[name] for name in TAKES[op + "_backward"]]
        rest = iter(getattr(ctx.ops, op + "_backward")(*arguments))
        for name, i, want in zip(learnt, self.places, wanted, strict=False):
            if name != "branches":
                entries[i] = next(rest) if want else None
            elif want:
                entries[i] = [entries[0]] if shared else [next(rest) for _ in split]
        return tuple(entries)


def _any(need: Any) -> bool:
    return any(need) if isinstance(need, Sequence) else bool(need)


_SAVED = ("y", "x", "alpha", "mean", "var", "weight", "bias")
_CONSTANTS = ("training", "eps", "relu", "mode")
FORMULAS = {op: Formula(op) for op in SCHEMAS if not op.endswith("_backward")}


def _register(namespace: str, op: str) -> None:
    """The op's backward calls the ops of the same namespace."""
    formula, ops = FORMULAS.get(op), getattr(torch.ops, namespace)

    def setup(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        ctx.ops = ops
        if formula is not None:
            formula.setup(ctx, inputs, output)

    def backward(ctx: Any, *gradients: Any) -> tuple:
        if formula is None:
            raise InputError(
                f"softgate::{op.removesuffix('_backward')} has no second derivative: compute it "
                "under softgate_ext.use_backend('reference')"
            )
        return formula.backward(ctx, ctx.needs_input_grad, *gradients)

    torch.library.register_autograd(
        f"{namespace}::{op}", backward, setup_context=setup, lib=LIBRARIES[namespace]
    )


for _namespace in LIBRARIES:
    # The compiled extension brings its own, csrc/autograd.cpp: a call costs a tenth there.
    if _namespace == NAMESPACE and is_available("cpu"):
        continue
    for _op in SCHEMAS:
        _register(_namespace, _op)
