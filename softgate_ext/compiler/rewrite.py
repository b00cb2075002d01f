"""Replaces chains of a traced graph (addition, batch norm, ReLU) by calls of the fused ops."""

import operator
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from softgate_ext import ops
from softgate_ext.compiler import nodes, sums
from softgate_ext.compiler.memory import Memory, storages, type_is_plain
from softgate_ext.compiler.report import Fused, Left, Report
from softgate_ext.compiler.sums import Sum
from softgate_ext.errors import InputError

STATISTICS = ("running_mean", "running_var")
AFFINE = ("weight", "bias")


def rewrite(module: GraphModule, report: Report) -> None:
    """Rewrites a graph in place, with the graphs that it runs under activation checkpointing."""
    _rewrite(module, owned(module), report)


def owned(module: GraphModule) -> set[Hashable]:
    """The storages of a graph's parameters and buffers."""
    return {storage for node in module.graph.nodes if is_own(node) for storage in storages(node)}


def is_own(node: Node) -> bool:
    """Whether an input of a graph is a parameter or buffer: the same tensor in every call."""
    return "_dynamo_static_input_type" in node.meta.get("tensor_dict", {})


def _rewrite(module: GraphModule, own: set[Hashable], report: Report) -> None:
    Rewriter(module.graph, own, report).run()
    module.recompile()
    for body in checkpointed_bodies(module):
        _rewrite(body, own, report)


def checkpointed_bodies(module: GraphModule) -> list[GraphModule]:
    """The graphs that a graph runs under activation checkpointing."""
    calls = [n for n in module.graph.nodes if is_checkpoint(n)]
    return [module.get_submodule(str(n.args[0].target)) for n in calls]  # type: ignore[misc]


def is_checkpoint(node: Node) -> bool:
    """Whether a node runs a graph under activation checkpointing."""
    return node.target is torch.ops.higher_order.tag_activation_checkpoint


class Rewriter:
    """Rewrites one graph in place.

    Args:
        graph: the graph as Dynamo traced it.
        own: the storages of parameters and buffers.
        report: where the results are entered.
    """

    def __init__(self, graph: Graph, own: set[Hashable], report: Report):
        self.graph = graph
        self.report = report
        self.memory = Memory(graph, own)

    def run(self) -> None:
        """Rewrites the graph: norms with the sums before them first, then the other sums."""
        for node in list(self.graph.nodes):
            if norm := nodes.norm_arguments(node):
                self._norm(node, norm)
        for node in list(self.graph.nodes):
            if nodes.is_add(node) or nodes.cat_parts(node) is not None:
                self._without_norm(node)
        self.graph.lint()

    def _norm(self, node: Node, norm: dict[str, Any]) -> None:
        source = norm.pop("input")
        user = next(iter(node.users), None)
        relu = user if len(node.users) == 1 and nodes.is_relu(user) else None
        if relu is not None and not self.memory.in_one_state([node, relu]):
            relu = None
        last = relu or node
        norm["relu"] = relu is not None
        found = self._sum_before(node, source, norm)
        if isinstance(found, Sum):
            options = {**found.options, **norm}
            refused = self._refusal(found.with_norm, found, options, [source, last])
            found = refused or found
        if isinstance(found, str):
            self._leave(source, found)
            found = None
        if found is None:
            refused = "neither an addition before the norm nor a ReLU after it"
            if relu is not None:
                refused = self._refusal(ops.bn_relu, [source], norm, [last])
            if refused:
                return self._leave(node, refused)
            with self.graph.inserting_before(node):
                z = self._call(ops.bn_relu, [source], norm, last)
        else:
            # The op is put at the place of the sum, so that other readers of the sum come after it.
            with self.graph.inserting_before(source):
                both = self._call(found.with_norm, found, options, source)
                y = self._call(operator.getitem, [both, 0], {}, source)
                z = self._call(operator.getitem, [both, 1], {}, last)
                self.memory.stands_for(z, source)
                z.meta = last.meta.copy()
        chain = [found.chain if found else "", "BatchNorm", "ReLU" if relu else ""]
        self.report.fused.append(Fused(nodes.module_path(node), ", ".join(filter(None, chain))))
        last.replace_all_uses_with(z)
        self._erase([last, node])
        if found is not None:
            source.replace_all_uses_with(y)
            self._erase([source, *found.absorbed])

    def _sum_before(self, node: Node, source: Node, norm: dict[str, Any]) -> Sum | str | None:
        """The sum before a norm that one op can compute together with it.

        Returns:
            The sum; a reason why it cannot be fused; or None if there is no sum.
        """
        found = self._sum(source)
        if not isinstance(found, Sum):
            return found
        statistics = [norm[name] for name in STATISTICS]
        parameters = [norm[name] for name in AFFINE]
        if not self.memory.in_one_state([source, node]):
            return "the sum and the norm run under different gradient modes or autocasts"
        if not self.memory.unwritten([source, *parameters], source, node):
            return "the sum is changed in place before the norm"
        if not self.memory.untouched(statistics, source, node):
            return "the norm's statistics are used between the sum and the norm"
        if not self.memory.is_before([*norm.values()], source):
            return "the norm's parameters are computed after the sum"
        return found

    def _without_norm(self, node: Node) -> None:
        found = self._sum(node)
        # A plain sum of two tensors needs one pass over memory already.
        if not isinstance(found, Sum) or not found.absorbed:
            return
        if reason := self._refusal(found.alone, found, found.options, [node]):
            return self._leave(node, reason)
        with self.graph.inserting_before(node):
            y = self._call(found.alone, found, found.options, node)
        node.replace_all_uses_with(y)
        self.report.fused.append(Fused(nodes.module_path(node), found.chain))
        self._erase([node, *found.absorbed])

    def _sum(self, node: Any) -> Sum | str | None:
        """The sum or merge whose last node this is; a reason if it cannot be fused; else None."""
        found = sums.find(node) if isinstance(node, Node) else None
        if not isinstance(found, Sum):
            return found
        if nodes.is_in_place_add(node):
            first: Any = node.args[0]
            if not self.memory.is_lost(first, node):
                return "the in-place addition writes into a tensor that is used elsewhere"
        # The op reads the operands at the place of the sum, later than the nodes that it replaces.
        if not all(self.memory.unwritten(found.operands, part, node) for part in found.absorbed):
            return "what is summed is changed in place before the sum"
        if not self.memory.in_one_state([*found.absorbed, node]):
            return "what is summed is computed under another gradient mode or autocast"
        return found

    def _refusal(
        self, op: Callable[..., Any], inputs: Any, options: dict[str, Any], replaced: list[Node]
    ) -> str | None:
        """The reason why the op cannot replace these nodes, or None. It is run on fake tensors."""
        originals = [nodes.value(node) for node in replaced]
        given = inputs.operands if isinstance(inputs, Sum) else inputs
        read = [nodes.value(v) for v in (*given, *options.values()) if isinstance(v, Node)]
        if not all(type_is_plain(t) for t in (*read, *originals) if isinstance(t, Tensor)):
            return "a tensor is of a class of its own, or seen by a transform of torch.func"
        args, options = _arguments(inputs, options, _flat)
        args, options = pytree.tree_map_only(Node, nodes.value, (args, options))
        if len({t.dtype for t in pytree.tree_leaves(args)}) > 1:
            return "the tensors are of several dtypes"
        try:
            with fake_mode(originals[0]), torch.enable_grad():
                results = op(*args, **options)
        except (InputError, RuntimeError) as error:  # for example if a size depends on values
            return str(error).splitlines()[0]
        results = results if isinstance(results, tuple) else (results,)
        if all(map(is_alike, results, originals)):
            return None
        return "the op's result would have another shape, dtype or layout"

    def _call(
        self, op: Callable[..., Any], inputs: Any, options: dict[str, Any], old: Node
    ) -> Node:
        """A new node with the memory, position and metadata of an old one."""
        args, options = _arguments(inputs, options, lambda alpha: self._flat_node(alpha, old))
        node = self.graph.call_function(op, tuple(args), options)
        self.memory.stands_for(node, old)
        return node

    def _flat_node(self, alpha: Node, old: Node) -> Node:
        flat = self.graph.call_method("reshape", (alpha, -1))
        self.memory.stands_for(flat, old)
        flat.meta["example_value"] = _flat(alpha)
        return flat

    def _erase(self, superfluous: list[Node]) -> None:
        for node in dict.fromkeys(superfluous):
            if not node.users:
                self.graph.erase_node(node)

    def _leave(self, node: Node, reason: str) -> None:
        self.report.left.append(Left(nodes.module_path(node), reason))


def _arguments(
    inputs: Sum | list[Any], options: dict[str, Any], flatten: Callable[[Node], Any]
) -> tuple[list[Any], dict[str, Any]]:
    if not isinstance(inputs, Sum):
        return inputs, options
    alpha = None if inputs.alpha is None else flatten(inputs.alpha)
    return inputs.inputs, {"alpha": alpha, **options}


def _flat(alpha: Node) -> Tensor:
    flat: Tensor = nodes.value(alpha)
    with fake_mode(flat):
        return flat.reshape(-1)


def fake_mode(fake: Tensor) -> Any:
    """The mode that a fake tensor was made in."""
    assert isinstance(fake, FakeTensor)
    return fake.fake_mode


def is_alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same dtype, device, shape and strides."""
    if a.dtype != b.dtype or a.device != b.device or a.ndim != b.ndim:
        return False
    if not all(map(nodes.same, a.shape, b.shape)):
        return False
    strides = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(nodes.same(size, 1) or nodes.same(i, j) for size, i, j in strides)
