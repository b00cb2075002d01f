"""Finds the sums that an op can compute: a gated addition, or a merge with upsampled features."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.fx import Node

from softgate_ext import ops
from softgate_ext.compiler import nodes

MOST_BRANCHES = 4


@dataclass
class Sum:
    """A sum that one op can compute.

    Attributes:
        with_norm: the op that computes the sum and a norm of it.
        alone: the op that computes the sum alone.
        inputs: the tensors that both take.
        options: their further arguments, without `alpha`.
        chain: the names of the fused steps, for the report.
        alpha: the gate on the first of the inputs.
        absorbed: the nodes before the sum that are no longer needed.
    """

    with_norm: Callable[..., Any]
    alone: Callable[..., Any]
    inputs: list[Any]
    options: dict[str, Any]
    chain: str
    alpha: Node | None = None
    absorbed: list[Node] = field(default_factory=list)

    @property
    def operands(self) -> list[Node | None]:
        """The nodes that the sum reads."""
        first, second = self.inputs
        return [first, *(second if isinstance(second, list) else [second]), self.alpha]


def find(node: Node) -> Sum | str | None:
    """The sum or merge whose last node this is; a reason if it cannot be fused; else None."""
    if not nodes.is_add(node):
        parts = nodes.cat_parts(node)
        return None if parts is None else _concatenation(parts)
    operands = nodes.add_operands(node)
    if isinstance(operands, str):
        return operands
    for skip, high in (operands, operands[::-1]):
        low = nodes.upsampled(high)
        if low is not None:
            return _merge(skip, high, low, "add")
    # The skip is the operand that is scaled, and the branches are the one that is concatenated.
    skip, branch = operands
    if nodes.scaled(skip) is None and (
        nodes.scaled(branch) is not None or nodes.cat_parts(skip) is not None
    ):
        skip, branch = branch, skip
    x, alpha, absorbed = _gate(skip)
    branches = nodes.cat_parts(branch)
    if branches is None or len(branches) > MOST_BRANCHES:
        branches = [branch]
    else:
        absorbed = [*absorbed, branch]
    names = ("concatenation" if branches != [branch] else "", "scale" if alpha else "", "add")
    inputs, chain = [x, branches], ", ".join(filter(None, names))
    op, alone = ops.gated_residual_bn_relu, ops.gated_residual
    return Sum(op, alone, inputs, {}, chain, alpha, absorbed)


def _concatenation(parts: list[Node]) -> Sum | str | None:
    lows = [nodes.upsampled(part) for part in parts]
    if not any(lows):
        return None
    if len(parts) != 2 or lows[1] is None:
        return "the upsampled features are not the second of two that are concatenated"
    return _merge(parts[0], parts[1], lows[1], "concat")


def _merge(skip: Node, high: Node, low: Node, mode: str) -> Sum:
    x, alpha, absorbed = _gate(skip)
    last = "concatenation" if mode == "concat" else "add"
    chain = ", ".join(filter(None, ("2x upsampling", "scale" if alpha else "", last)))
    inputs, options = [x, low], {"mode": mode}
    op, alone = ops.skip_merge_bn_relu, ops.skip_merge
    return Sum(op, alone, inputs, options, chain, alpha, [*absorbed, high])


def _gate(node: Node) -> tuple[Node, Node | None, list[Node]]:
    """The input of a product, its factor, and the product, which is no longer needed."""
    found = nodes.scaled(node)
    return (node, None, []) if found is None else (*found, [node])
