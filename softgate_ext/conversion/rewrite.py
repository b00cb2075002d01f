"""Chains of a traced graph put together into calls of `softgate_ext.conversion.fused`."""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.fx import Graph, Node
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext.conversion import fused, nodes
from softgate_ext.conversion.report import Change, Left, Report
from softgate_ext.graphs.memory import Memory
from softgate_ext.graphs.norms import relu_within
from softgate_ext.nn.norm import has_hooks, is_fusable

MOST_BRANCHES = 4


@dataclass
class Sum:
    """What stands before a norm: a gated addition, or a merge with upsampled features."""

    with_norm: Callable[..., Any]
    alone: Callable[..., Any]
    args: tuple[Any, ...]
    absorbed: list[Node]
    chain: str


class Rewriter:
    """Rewrites one graph in place.

    Args:
        root: the module that the graph is traced from.
        graph: its forward.
        prefix: path of `root` in the whole model, with a dot at its end, for the report.
    """

    def __init__(self, root: nn.Module, graph: Graph, prefix: str = ""):
        self.modules = dict(root.named_modules(remove_duplicate=False))
        self.graph = graph
        self.prefix = prefix
        self.report = Report()
        called = (n for n in graph.nodes if n.op == "call_module")
        self.calls = Counter(id(self.modules[str(n.target)]) for n in called)

    def run(self) -> Report:
        """Rewrites what can be rewritten."""
        for node in list(self.graph.nodes):
            if node.op == "call_module":
                module = self.modules[str(node.target)]
                if isinstance(module, _BatchNorm):
                    self._norm(node, module)
                elif has_hooks(module) and any(module.children()):
                    self._leave(node, "it has hooks, so it is called as it is")
            elif node.op == "call_function" and node.target is F.batch_norm:
                self._leave(node, "a functional batch_norm has no module")
        for node in list(self.graph.nodes):
            if nodes.is_add(node) or nodes.cat_parts(node) is not None:
                self._without_norm(node)
        self.graph.lint()
        return self.report

    def _norm(self, node: Node, norm: _BatchNorm) -> None:
        own = relu_within(norm)
        if own is None and (reason := _not_fusable(norm)):
            return self._leave(node, reason)
        if self.calls[id(norm)] > 1:
            return self._leave(node, "the batch norm is called more than once")
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], Node):
            return self._leave(node, "the batch norm is not called with one tensor")
        source = node.args[0]
        user = next(iter(node.users), None)
        relu = user if len(node.users) == 1 and nodes.is_relu(user, self.modules) else None
        if own is not None:
            relu = None
        found = self._sum(source)
        if isinstance(found, Sum) and not self._memory().unwritten([source], source, node):
            found = "the sum is changed in place before the norm"
        if isinstance(found, str):
            self._leave(source, found)
            found = None
        if found is None and relu is None and not own:
            return self._leave(node, "neither an addition before the norm nor a ReLU after it")

        chain = ", ".join(
            part for part in (found and found.chain, "BatchNorm", (relu or own) and "ReLU") if part
        )
        self.report.changed.append(Change(self.prefix + str(node.target), chain))
        last = relu or node
        # The op takes the place of the sum: whoever reads the sum finds it done.
        with self.graph.inserting_before(source if found else node):
            module = self.graph.get_attr(str(node.target))
            if found is None:
                z = self.graph.call_function(fused.norm_relu, (module, source, relu is not None))
            else:
                args = (module, *found.args, relu is not None)
                both = self.graph.call_function(found.with_norm, args)
                y = self.graph.call_function(operator.getitem, (both, 0))
                z = self.graph.call_function(operator.getitem, (both, 1))
        last.replace_all_uses_with(z)
        for old in (relu, node):
            if old is not None:
                self.graph.erase_node(old)
        if found is not None:
            source.replace_all_uses_with(y)
            self._erase([source, *found.absorbed])

    def _without_norm(self, node: Node) -> None:
        found = self._sum(node)
        # A plain sum of two tensors is one pass already.
        if not isinstance(found, Sum) or not found.absorbed:
            return
        with self.graph.inserting_before(node):
            y = self.graph.call_function(found.alone, found.args)
        node.replace_all_uses_with(y)
        self.report.changed.append(Change(self.prefix + node.name, found.chain))
        self._erase([node, *found.absorbed])

    def _memory(self) -> Memory:
        return Memory(self.graph, self.modules)

    def _sum(self, node: Node) -> Sum | str | None:
        """The sum or merge that a node ends; a sentence where it only looks like one."""
        found = self._shape_of_sum(node)
        if not isinstance(found, Sum):
            return found
        memory = self._memory()
        if nodes.is_add(node) and nodes.is_in_place_add(node):
            first: Any = node.args[0]
            if not memory.is_lost(first, node):
                return "the in-place addition writes into a tensor that is used elsewhere"
        # The op reads at the sum what the parts that it takes the place of read before.
        operands = [*found.args[:1], *_listed(found.args[1]), found.args[2]]
        if not all(memory.unwritten(operands, part, node) for part in found.absorbed):
            return "what is summed is changed in place before the sum"
        return found

    def _shape_of_sum(self, node: Node) -> Sum | str | None:
        parts = nodes.cat_parts(node) if not nodes.is_add(node) else None
        if parts is None and not nodes.is_add(node):
            return None
        if parts is not None:
            return self._concat(parts)
        operands = nodes.add_operands(node)
        if isinstance(operands, str):
            return operands
        for skip, high in (operands, operands[::-1]):
            low = nodes.upsampled(high, self.modules)
            if low is not None:
                x, alpha, absorbed = _gate(skip)
                chain = "2x upsampling, scale, add" if absorbed else "2x upsampling, add"
                merged = (x, low, alpha, "add", _into(node, skip))
                absorbed = [*absorbed, high]
                return Sum(fused.merge_norm_relu, fused.merge, merged, absorbed, chain)
        # The gate goes to the operand that is scaled, the branches to the one concatenated.
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
        chain = ", ".join(filter(None, names))
        args = (x, branches, alpha, _into(node, skip))
        return Sum(fused.add_norm_relu, fused.gated_add, args, absorbed, chain)

    def _concat(self, parts: list[Node]) -> Sum | str | None:
        highs = [nodes.upsampled(part, self.modules) for part in parts]
        if not any(highs):
            return None
        if len(parts) != 2 or highs[1] is None:
            return "the upsampled features are not the second of two that are concatenated"
        x, alpha, absorbed = _gate(parts[0])
        chain = "2x upsampling, scale, concatenation" if alpha else "2x upsampling, concatenation"
        args = (x, highs[1], alpha, "concat", None)
        return Sum(fused.merge_norm_relu, fused.merge, args, [*absorbed, parts[1]], chain)

    def _erase(self, absorbed: list[Node]) -> None:
        for node in absorbed:
            if not node.users:
                self.graph.erase_node(node)

    def _leave(self, node: Node, reason: str) -> None:
        name = str(node.target) if node.op == "call_module" else node.name
        self.report.left.append(Left(self.prefix + name, reason))


def _into(node: Node, skip: Node) -> fused.Into:
    if not nodes.is_in_place_add(node):
        return None
    return "skip" if node.args[0] is skip else "branch"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _gate(node: Node) -> tuple[Node, Node | None, list[Node]]:
    """What is scaled, by what, and the product that this makes superfluous."""
    found = nodes.scaled(node)
    return (node, None, []) if found is None else (*found, [node])


def _not_fusable(norm: _BatchNorm) -> str | None:
    if is_fusable(norm):
        return None
    if has_hooks(norm):
        return "the batch norm has hooks"
    if isinstance(norm, nn.BatchNorm2d):
        return f"{type(norm).__name__} computes more than a BatchNorm2d with or without a ReLU"
    return f"{type(norm).__name__} is not a BatchNorm2d"
