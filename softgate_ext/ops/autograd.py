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
from softgate_ext.ops.batching import is_batched
from softgate_ext.ops.schema import (
    GIVES,
    LIBRARIES,
    SCHEMAS,
    TAKES,
    differentiable,
    layout_of,
)

_SAVED = ("y", "x", "alpha", "mean", "var", "weight", "bias")


class Formula:
    """Of one forward op; ``ctx.ops`` holds the backward ops that it shall call.

    Small tensors are bound by what runs here, so where everything lies is settled beforehand.
    """

    def __init__(self, op: str):
        takes = [*TAKES[op]]
        self.inputs = len(takes)
        self.sums, self.normalises, self.merges = (
            name in takes for name in ("alpha", "training", "mode")
        )
        self.alpha_at = takes.index("alpha") if self.sums else 0
        self.vectors_at = takes.index("running_mean") if self.normalises else 0
        constants = [name for name in ("training", "eps", "relu", "mode") if name in takes]
        self.constants_at = [takes.index(name) for name in constants]
        # A backward's arguments are picked from these.
        pool = [*_SAVED, *constants, "split", "channels", "needs", *("d" + g for g in GIVES[op])]
        # Where z takes part in no loss, the op without a norm has the gradients of y.
        self.whole, self.without_z = (
            (
                name + "_backward",
                [pool.index(role) for role in TAKES[name + "_backward"]],
                [takes.index(role) for role in differentiable(name)],
            )
            for name in (op, op.removesuffix("_bn_relu"))
        )

    def setup(self, ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        """Notes what the backward needs."""
        x, skip, alpha, y = inputs[0], None, None, None
        vectors: Sequence[Tensor | None] = (None,) * 4
        ctx.set_materialize_grads(False)
        ctx.layout = layout_of(x)
        ctx.constants = [inputs[i] for i in self.constants_at]
        if self.sums:
            alpha = inputs[self.alpha_at]
            skip = x if alpha is not None and alpha.requires_grad else None
            split = [b.shape[1] for b in inputs[1]]
            ctx.constants += split, x.shape[1] if self.merges else None
        else:
            ctx.constants += (), None
        if self.normalises:
            y, batch = output[0] if self.sums else x, output[-2:]
            if batch[0] is not None:
                ctx.mark_non_differentiable(*batch)
            # Running statistics are saved as they are, so that a later update of them is noticed.
            vectors = inputs[self.vectors_at : self.vectors_at + 4]
            if ctx.constants[0]:  # training
                vectors = (*batch, *vectors[2:])
        ctx.save_for_backward(y, skip, alpha, *vectors)

    def backward(self, ctx: Any, needs: Sequence[Any], *gradients: Tensor | None) -> tuple:
        """One entry per input, branches as a list, as ``needs`` has them."""
        constants, layout = ctx.constants, ctx.layout
        split = constants[-2]
        entries: list[Any] = [None] * self.inputs
        if self.sums:
            entries[1] = [None] * len(split)
        dz = gradients[1 if self.sums else 0] if self.normalises else None
        if dz is None and (not self.sums or gradients[0] is None):
            return tuple(entries)
        op, arguments, places = self.whole if dz is not None else self.without_z
        saved = ctx.saved_tensors
        wanted = [needs[i] for i in places]
        if self.sums and isinstance(wanted[1], Sequence):
            wanted[1] = any(wanted[1])
        # Without a gate x and a lone branch have one gradient: it is written once, as x's.
        shared = len(split) == 1 and saved[2] is None and wanted[0] and wanted[1]
        written = [wanted[0], False, *wanted[2:]] if shared else wanted
        pool = [*saved, *constants, written]
        # Expanded and transposed ones are copied; of a batch of gradients, each by the op.
        pool += [
            g if g is None or is_batched(g) else g.contiguous(memory_format=layout)
            for g in gradients
        ]
        rest = iter(getattr(ctx.ops, op)(*[pool[i] for i in arguments]))
        for place, want in zip(places, wanted, strict=True):
            if not want:
                continue
            if place != 1 or not self.sums:
                entries[place] = next(rest)
            else:
                entries[1] = [entries[0]] if shared else [next(rest) for _ in split]
        return tuple(entries)


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


if not is_available("cpu"):  # the compiled extension brings its own for both, csrc/autograd.cpp
    for _namespace in LIBRARIES:
        for _op in SCHEMAS:
            _register(_namespace, _op)
