"""A module's forward as a graph that keeps the order of reads and writes."""

import operator
import threading
import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Proxy, Tracer
from torch.fx._symbolic_trace import _assert_is_none

from softgate_ext.graphs.arguments import Arguments
from softgate_ext.graphs.effects import Effects
from softgate_ext.graphs.stand_ins import StandIn, tensors_are_tensors

_ONE_AT_A_TIME = threading.RLock()  # a trace changes what all threads see, as torch.fx's own does


class RecordingTracer(Tracer):
    """Traces what `Arguments` leaves to a graph.

    Args:
        keep: paths of modules that are called as they are.

    Attributes:
        inlined: paths of the modules whose forward became part of the graph.
        effects: what the forwards did beside, by their paths.
        takes_tensors: whether a forward asked for the class of a value, taken for a tensor.
        last: path of the module whose forward ended the trace: where it failed, if it did.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        super().__init__()
        self.keep = keep
        self.inlined: list[str] = []
        self.effects: dict[str, str] = {}
        self.takes_tensors = False
        self.last = ""
        self._watch: Effects | None = None

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of the module's forward."""
        self._watch = Effects(root)
        self.effects = self._watch.found
        try:
            with _ONE_AT_A_TIME, self._watch.watched(), tensors_are_tensors(self, root):
                return super().trace(root, concrete_args)
        finally:
            self.last = self._watch.path
            self._watch = None

    def ask(self) -> None:
        """A forward asks for the class of a value, which is not what it will be."""
        if self._watch is not None:
            self._watch.asked()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of the module is one step."""
        kept = module_qualified_name in self.keep
        return kept or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **options: Any) -> Node:
        """A step of the graph."""
        if self._watch is not None:
            self._watch.look()
        return super().create_node(*args, **options)

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
        arguments.tensors |= self.takes_tensors
        return graph

    def proxy(self, node: Node) -> Proxy:
        """A stand-in for a value."""
        return StandIn(node, self)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A step of the graph, or the steps of the module's forward."""
        name = self.path_of_module(m)
        if self.is_leaf_module(m, name):
            return super().call_module(m, forward, args, kwargs)
        self.inlined.append(name)
        assert self._watch is not None  # modules are called within a trace
        self._watch.enter(name)
        result = super().call_module(m, forward, args, kwargs)
        self._watch.leave()
        return result


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
