"""A module's forward as a graph that keeps the order of reads and writes."""

import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Proxy, Tracer
from torch.fx._symbolic_trace import _assert_is_none

from softgate_ext.graphs.arguments import Arguments

IN_PLACE = {
    getattr(operator, name)
    for name in (
        "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul",
        "iand", "ior", "ixor", "ilshift", "irshift",
    )
}  # fmt: skip


class _Proxy(Proxy):
    """Records in-place operators as such; torch.fx's own proxy makes `a += b` an `a = a + b`."""


def _in_place(function: Callable[..., Any]) -> Callable[[Proxy, Any], Proxy]:
    def method(self: Proxy, other: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE:
    setattr(_Proxy, f"__{_function.__name__}__", _in_place(_function))


class RecordingTracer(Tracer):
    """Traces what `Arguments` leaves to a graph.

    Attributes:
        inlined: paths of the modules whose forward became part of the graph.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inlined: list[str] = []

    def graph_of(self, root: nn.Module, arguments: Arguments) -> Graph:
        """The graph of `root.forward`, whose placeholders are `arguments.taken`.

        Raises:
            Exception: of any kind, since the forward is anybody's code and sees no tensors.
        """
        for name, default in arguments.fixed.items():
            if isinstance(default, tuple | list | dict):
                raise TypeError(f"its argument {name} is a {type(default).__name__} by default")
        with warnings.catch_warnings():
            # Of defaults that it cannot compare; `Arguments` can.
            warnings.filterwarnings("ignore", "Was not able to add assertion")
            graph = self.trace(root, dict(arguments.fixed) or None)
        for node in list(graph.nodes):
            if node.op == "placeholder" and node.args:
                _forget_fixed(graph, node)
        return graph

    def proxy(self, node: Node) -> Proxy:
        """A stand-in for a value."""
        return _Proxy(node, self)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A step of the graph, or the steps of the module's forward."""
        name = self.path_of_module(m)
        if not self.is_leaf_module(m, name):
            self.inlined.append(name)
        return super().call_module(m, forward, args, kwargs)


def _forget_fixed(graph: Graph, placeholder: Node) -> None:
    """An argument at its default, with torch.fx's assertions that it is: the caller knows."""
    for user in list(placeholder.users):
        for check in list(user.users):
            if check.target is torch._assert:
                graph.erase_node(check)
        if not user.users and user.target in (operator.eq, _assert_is_none):
            graph.erase_node(user)
    if not placeholder.users:
        graph.erase_node(placeholder)
