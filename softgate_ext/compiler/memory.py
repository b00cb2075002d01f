"""Alias analysis of a graph: which values share memory, and which steps read or write it.

Dynamo ran every step on fake tensors. The storages of their results show which values share memory.
The name of a step, or the schema of an op, shows what it writes. Code of other packages is assumed to
write to all its arguments: in doubt a chain is not rewritten, so that results stay correct.
"""

import inspect
import operator
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch._subclasses import FakeTensor
from torch.fx import Graph, Node
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from softgate_ext.compiler.nodes import value

_IN_PLACE = {
    getattr(operator, name)
    for name in (
        "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul",
        "iand", "ior", "ixor", "ilshift", "irshift", "setitem",
    )
}  # fmt: skip
_IN_PLACE_METHODS = {f"__{function.__name__}__" for function in _IN_PLACE}
_NORMS = ("batch_norm", "instance_norm")  # parts of the names of ops that write running statistics
_TRUSTED = ("torch", "_operator", "math", "builtins", "softgate_ext")


class Memory:
    """The memory of a graph as Dynamo traced it.

    Args:
        graph: the graph.
        own: the storages of parameters and buffers. Other inputs of one dtype may share memory in a
            later call even if they do not in this one.
    """

    def __init__(self, graph: Graph, own: set[Hashable]):
        self._place: dict[Node, int] = {}
        self._parent: dict[Hashable, Hashable] = {}
        self._region: dict[Node, int] = {}
        self._steps: list[tuple[int, Node, list[Node]]] = []
        region = 0
        for place, node in enumerate(graph.nodes):
            self._place[node], self._region[node] = place, region
            written = list(_written(node))
            if node.op == "placeholder":
                for storage in storages(node) - own:
                    self._join(value(node).dtype, storage)
            elif node.op.startswith("call_"):
                self._steps.append((place, node, written))
                if _is_opaque(node):
                    shared = [s for n in (node, *node.all_input_nodes) for s in storages(n)]
                    for storage in shared:
                        self._join(shared[0], storage)
                # A step without a result changes the state of the steps that follow: gradient mode,
                # autocast, or a stream.
                region += node.op == "call_function" and value(node) is None

    def stands_for(self, new: Node, old: Node) -> None:
        """Gives a new node the position, state and metadata of the traced node that it replaces."""
        self._place[new], self._region[new] = self._place[old], self._region[old]
        new.meta = old.meta.copy()

    def is_before(self, values: Iterable[Any], node: Node) -> bool:
        """Whether all nodes among the values are computed before this one."""
        return all(self._place[v] < self._place[node] for v in values if isinstance(v, Node))

    def in_one_state(self, nodes: Iterable[Node]) -> bool:
        """Whether the steps run under the same gradient mode, autocast and stream."""
        return len({self._region[node] for node in nodes}) == 1

    def unwritten(self, values: Iterable[Any], first: Node, last: Node) -> bool:
        """Whether no step between the two writes to memory that any of the values may share."""
        roots = self._roots(values)
        return not any(
            self._roots(written) & roots for _, written in self._between(first, last) if written
        )

    def untouched(self, values: Iterable[Any], first: Node, last: Node) -> bool:
        """Whether no step between the two reads or writes such memory."""
        roots = self._roots(values)
        steps = self._between(first, last)
        return not any(self._roots(node.all_input_nodes) & roots for node, _ in steps)

    def is_lost(self, value_: Node, writer: Node) -> bool:
        """Whether the effect of `writer` on the value is visible only through the result of `writer`."""
        roots, when = self._roots([value_]), self._place[writer]
        for node, place in self._place.items():
            if not self._roots([node]) & roots:
                continue
            if node.op in ("placeholder", "get_attr"):
                return False
            if place < when and any(self._place[user] > when for user in node.users):
                return False
        return True

    def _between(self, first: Node, last: Node) -> Iterator[tuple[Node, list[Node]]]:
        low, high = self._place[first], self._place[last]
        return ((node, written) for place, node, written in self._steps if low < place < high)

    def _roots(self, values: Iterable[Any]) -> set[Hashable]:
        return {self._root(s) for v in values if isinstance(v, Node) for s in storages(v)}

    def _root(self, key: Hashable) -> Hashable:
        while (parent := self._parent.get(key, key)) != key:
            key = parent
        return key

    def _join(self, a: Hashable, b: Hashable) -> None:
        self._parent[self._root(a)] = self._root(b)


def storages(node: Node) -> set[Hashable]:
    """Identifiers of the storages of a node's tensors; all tensor subclasses count as one storage."""
    tensors = (t for t in pytree.tree_leaves(value(node)) if isinstance(t, Tensor))
    return {t.untyped_storage()._cdata if type_is_plain(t) else "of other classes" for t in tensors}


def type_is_plain(t: Any) -> bool:
    """Whether a fake value is a dense tensor of PyTorch's own class, outside of `torch.func`."""
    plain = isinstance(t, FakeTensor) and t.layout == torch.strided
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(t)


def _written(node: Node) -> Iterable[Node]:
    """The nodes whose memory a step writes to."""
    inputs = node.all_input_nodes
    if node.op not in ("call_function", "call_method") or _is_opaque(node):
        return inputs if node.op.startswith("call_") else []
    target: Any = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    written = [n for n in pytree.tree_leaves(node.kwargs.get("out")) if isinstance(n, Node)]
    named = name.endswith("_") and not name.endswith("__") or name in _IN_PLACE_METHODS
    if named or target in _IN_PLACE or argument(node, "inplace"):
        # An op on lists of tensors (foreach) may write to any of them.
        lists = any(isinstance(a, list | tuple) for a in node.args[:1])
        written += inputs if lists else inputs[:1]
    elif any(norm in name for norm in _NORMS) and argument(node, "training") is not False:
        source = node.args[0] if node.args else node.kwargs.get("input")
        written += [n for n in inputs if n is not source]
    elif argument(node, "max_norm") is not None:  # an embedding that renormalises its weights
        written += inputs
    return written


def _is_opaque(node: Node) -> bool:
    """Whether a step may write to all its arguments and return views of them."""
    target: Any = node.target
    if node.op != "call_function":
        return node.op == "call_module"
    if isinstance(target, HigherOrderOperator):
        return True
    if isinstance(target, OpOverloadPacket):
        return any(getattr(target, name)._schema.is_mutable for name in target.overloads())
    if isinstance(target, OpOverload):
        return target._schema.is_mutable
    module = getattr(target, "__module__", None) or ""
    return module.partition(".")[0] not in _TRUSTED and not isinstance(target, type(torch.relu))


def argument(node: Node, name: str) -> Any:
    """The argument of a step with this name, or None if there is none or it is unknown."""
    if name in node.kwargs:
        return node.kwargs[name]
    function: Any = getattr(F, getattr(node.target, "__name__", ""), None)
    if not bool(function is node.target):
        return None
    try:
        return inspect.signature(function).bind(*node.args, **node.kwargs).arguments.get(name)
    except (TypeError, ValueError):
        return None
