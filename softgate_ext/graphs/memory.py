"""Which values of a graph may share memory, and which steps write into it.

What is not known to make a tensor of its own may return a part of any of its inputs, and code that
is neither PyTorch's nor this package's may write into them: a doubt costs a rewriting, never a
number.
"""

import inspect
import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext.graphs.stand_ins import IN_PLACE, NO_TENSORS

# Functions and methods, by name, whose result is a tensor of its own (or no tensor).
_FRESH = {
    "abs", "add", "addcmul", "argmax", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
    "amax", "batch_norm", "bmm", "cat", "clamp", "clone", "concat", "concatenate", "conv1d",
    "conv2d", "conv3d", "conv_transpose2d", "dim", "div", "elu", "empty_like", "eq", "exp",
    "floordiv", "full_like", "ge", "gelu", "group_norm", "gt", "hardsigmoid", "hardswish",
    "instance_norm", "interpolate", "item", "layer_norm", "le", "leaky_relu", "len", "linear",
    "log", "lt", "matmul", "max_pool2d", "maximum", "mean", "minimum", "mish", "mod", "mul",
    "ne", "neg", "numel", "ones_like", "pow", "rand_like", "randn_like", "relu", "relu6", "rsqrt",
    "selu", "sigmoid", "silu", "size", "softmax", "softplus", "sqrt", "square", "stack", "std",
    "stride", "sub", "sum", "tanh", "truediv", "var", "where", "zeros_like",
}  # fmt: skip
# Ours, and those with several results.
_FRESH_OURS = {
    "add_norm_relu", "bn_relu", "gated_add", "gated_residual", "gated_residual_bn_relu",
    "max_pool_by_2", "merge", "merge_norm_relu", "norm_relu", "skip_merge", "skip_merge_bn_relu",
}  # fmt: skip
_PAIRS = {"add_norm_relu", "gated_residual_bn_relu", "merge_norm_relu", "skip_merge_bn_relu"}
_FRESH_MODULES = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    _BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.Upsample,
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.PReLU),
    *(nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softmax),
)
_TRUSTED = ("torch", "_operator", "math", "builtins", "softgate_ext", "timm")


class Memory:
    """Memory of a graph as it is now.

    Args:
        graph: what is looked at; a change of it makes this out of date.
        modules: those that it calls, by path.
    """

    def __init__(self, graph: Graph, modules: Mapping[str, nn.Module]):
        self.modules = modules
        self.place = {node: i for i, node in enumerate(graph.nodes)}
        self._parent: dict[Hashable, Hashable] = {}
        for node in graph.nodes:
            self._parent[node] = node
            for other in self._shares(node):
                self._join(node, other)
        # Every write, in order: the node and what it writes into.
        self._writes = [
            (node, {self._root(value) for value in written})
            for node in graph.nodes
            if (written := list(self._written(node)))
        ]

    def unwritten(self, values: Iterable[Node | None], first: Node, last: Node) -> bool:
        """Whether no step between the two writes into memory that any of the values may share."""
        roots = {self._root(value) for value in values if value is not None}
        low, high = self.place[first], self.place[last]
        return not any(
            low < self.place[node] < high and into & roots for node, into in self._writes
        )

    def is_written(self, *values: Node | None) -> bool:
        """Whether any step writes into memory that any of the values may share."""
        roots = {self._root(value) for value in values if value is not None}
        return any(into & roots for _, into in self._writes)

    def is_lost(self, value: Node, writer: Node) -> bool:
        """Whether nobody sees what `writer` does to `value` but through the result of `writer`."""
        root, when = self._root(value), self.place[writer]
        if self._root("outside") == root:
            return False
        for node, place in self.place.items():
            if self._root(node) != root:
                continue
            if node.op == "get_attr":
                return False
            if place < when and any(self.place[user] > when for user in node.users):
                return False
        return True

    def _shares(self, node: Node) -> Iterator[Hashable]:
        """Nodes, and other names of memory, that the node's value may be a part of."""
        if node.op == "placeholder":
            yield "outside"  # one input may be a part of another
        elif node.op == "get_attr":
            yield self._stored(str(node.target))
        elif written := list(self._written(node)):
            yield from written
        elif not self._is_fresh(node):
            yield from node.all_input_nodes

    def _stored(self, path: str) -> Hashable:
        owner, _, name = path.rpartition(".")
        value = getattr(self.modules[owner], name, None) if owner in self.modules else None
        return value.untyped_storage()._cdata if isinstance(value, Tensor) else path

    def _is_fresh(self, node: Node) -> bool:
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            kind = type(module)
            return isinstance(module, _FRESH_MODULES) and _is_trusted(kind)
        if node.op == "call_method":
            return node.target in _FRESH
        if node.target is getattr:
            return node.args[1] in NO_TENSORS
        if node.target is operator.getitem:
            source: Any = node.args[0]
            return source.op == "call_function" and _is_ours(source.target, _PAIRS)
        if node.op == "call_function":
            named = getattr(node.target, "__name__", "") in _FRESH and _is_trusted(node.target)
            return named or _is_ours(node.target, _FRESH_OURS)
        return False

    def _written(self, node: Node) -> Iterator[Node]:
        """What a step writes into."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if not _is_trusted(type(module)) or any(module.children()) and not _is_norm(module):
                yield from node.all_input_nodes
            elif getattr(module, "inplace", False):
                yield from node.all_input_nodes[:1]
        elif node.op == "call_method":
            name = str(node.target)
            if name.endswith("_") and not name.endswith("__") or name == "__setitem__":
                yield from node.all_input_nodes[:1]
        elif node.op == "call_function":
            target: Any = node.target
            name = getattr(target, "__name__", "")
            out = node.kwargs.get("out")
            if isinstance(out, Node):
                yield out
            named = name.endswith("_") and not name.endswith("__")
            if named or target in IN_PLACE or target is operator.setitem or _is_in_place(node):
                yield from node.all_input_nodes[:1]
            elif not _is_trusted(target):
                yield from node.all_input_nodes

    def _root(self, key: Hashable) -> Hashable:
        while (parent := self._parent.get(key, key)) != key:
            self._parent[key] = self._parent.get(parent, parent)
            key = parent
        return key

    def _join(self, a: Hashable, b: Hashable) -> None:
        self._parent[self._root(a)] = self._root(b)


def _is_trusted(code: Any) -> bool:
    """Whether a function or class is known to write into what its name says alone."""
    module = getattr(code, "__module__", None) or ""
    return module.partition(".")[0] in _TRUSTED or isinstance(code, type(torch.relu))


def _is_ours(code: Any, names: set[str]) -> bool:
    package = (getattr(code, "__module__", None) or "").partition(".")[0]
    return package == "softgate_ext" and code.__name__ in names


def _is_norm(module: nn.Module) -> bool:
    """A norm, with an activation of its own maybe, which works on the norm's result."""
    return isinstance(module, _BatchNorm)


def _is_in_place(node: Node) -> bool:
    """Whether one of PyTorch's functions is called with `inplace=True`."""
    if node.kwargs.get("inplace", False):
        return True
    function: Any = getattr(F, getattr(node.target, "__name__", ""), None)
    if not bool(function is node.target):
        return False
    try:
        return bool(
            inspect.signature(function).bind(*node.args, **node.kwargs).arguments["inplace"]
        )
    except (TypeError, ValueError, KeyError):
        return False
