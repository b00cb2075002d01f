"""Autograd of the ops: what a forward op saves, and which backward op it calls.

An op saves ``y``, which is an output anyway, and the batch statistics. It saves ``x`` only if alpha
requires a gradient. It saves no ReLU mask, no concatenated copy and no upsampled copy. A gradient
that is not required is not computed, and a gradient that two inputs share is stored once. The
gradient of an output that takes part in no loss arrives as None and costs nothing.

The compiled extension has its own autograd nodes (``csrc/autograd.cpp``). The formulas here serve
an installation without the extension, and the Triton ops in eager mode.
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
    """The autograd formula of one forward op. ``ctx.ops`` holds the backward ops that it calls.

    For small tensors the time of a call is spent in this code, so the positions of all arguments
    are looked up once, when the formula is made.
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
        # The arguments of a backward op are picked from this list by position.
        pool = [*_SAVED, *constants, "split", "channels", "needs", *("d" + g for g in GIVES[op])]
        # If z takes part in no loss, the backward of the op without the norm gives the gradients.
        self.whole, self.without_z = (
            (
                name + "_backward",
                [pool.index(role) for role in TAKES[name + "_backward"]],
                [takes.index(role) for role in differentiable(name)],
            )
            for name in (op, op.removesuffix("_bn_relu"))
        )

    def setup(self, ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        """Saves what the backward needs in ``ctx``."""
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
            # The running statistics are saved without a copy, so that autograd notices if they
            # are updated before the backward.
            vectors = inputs[self.vectors_at : self.vectors_at + 4]
            if ctx.constants[0]:  # training
                vectors = (*batch, *vectors[2:])
        ctx.save_for_backward(y, skip, alpha, *vectors)

    def backward(self, ctx: Any, needs: Sequence[Any], *gradients: Tensor | None) -> tuple:
        """The gradients, one entry per input of the op; that of the branches is a list.

        Args:
            ctx: what ``setup`` filled.
            needs: whether each input needs a gradient; one flag or a list of flags for the branches.
            gradients: the gradients of the op's outputs, None for an output in no loss.
        """
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
        # Without a gate, x and a single branch have the same gradient: the kernel stores x's only.
        shared = len(split) == 1 and saved[2] is None and wanted[0] and wanted[1]
        written = [wanted[0], False, *wanted[2:]] if shared else wanted
        pool = [*saved, *constants, written]
        # The kernels need dense gradients. A batch of gradients (vmap) is made dense by the op itself.
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
    """Registers the op's autograd formula. Its backward calls the ops of the same namespace."""
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


if not is_available("cpu"):  # the compiled extension registers its own for both namespaces
    for _namespace in LIBRARIES:
        for _op in SCHEMAS:
            _register(_namespace, _op)
