"""A module's forward as a graph that keeps the order of reads and writes."""

import operator
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Proxy, Tracer
from torch.fx._symbolic_trace import _assert_is_none

from softgate_ext.graphs.arguments import Arguments
from softgate_ext.graphs.effects import Effects

IN_PLACE = {
    getattr(operator, name)
    for name in (
        "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul",
        "iand", "ior", "ixor", "ilshift", "irshift",
    )
}  # fmt: skip


# Methods and attributes of tensors that are no tensors.
NO_TENSORS = {
    "device", "dim", "dtype", "is_cuda", "item", "layout", "ndim", "ndimension", "numel",
    "requires_grad", "shape", "size", "stride",
}  # fmt: skip


class _Proxy(Proxy):
    """Records in-place operators as such; torch.fx's own proxy makes `a += b` an `a = a + b`."""

    tracer: "RecordingTracer"
    _is_param = _is_buffer = False  # what torch.nn asks every Tensor

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        """The class, for who asks for it but by isinstance: it cannot be Tensor for code in C."""
        if not _is_knowing(sys._getframe(1)):
            self.tracer.ask()
        return _Proxy


def _in_place(function: Callable[..., Any]) -> Callable[[Proxy, Any], Proxy]:
    def method(self: Proxy, other: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE:
    setattr(_Proxy, f"__{_function.__name__}__", _in_place(_function))


# Code that knows stand-ins for tensors, but for what runs code of a model's own, which no graph has
# a step for.
_KNOWING = {"torch", "softgate_ext", "inspect", "abc", "typing"}
_UNKNOWING = {"torch", "torch.autograd.function", "torch.utils.checkpoint"}
_TENSOR = torch.empty(0)
_ONE_AT_A_TIME = threading.RLock()  # a trace changes what all threads see, as torch.fx's own does


def _is_knowing(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _KNOWING and name not in _UNKNOWING


@contextmanager
def _tensors_are_tensors(tracer: "RecordingTracer", root: nn.Module) -> Iterator[None]:
    """While it lasts, the model's code has an isinstance that takes stand-ins for tensors.

    Others keep theirs: what first runs now, and is kept, must not hold this one.
    """

    def isinstance_(value: Any, kind: Any) -> bool:
        if type(value) is not _Proxy or value.tracer is not tracer:
            return isinstance(value, kind)
        if not _is_tensor(value.node):
            tracer.ask()
            return False
        tracer.takes_tensors = True
        return isinstance(_TENSOR, kind)

    places = [place for place in _code_of(root) if "isinstance" not in place]
    for place in places:
        place["isinstance"] = isinstance_
    try:
        yield
    finally:
        for place in places:
            place.pop("isinstance", None)


def _code_of(root: nn.Module) -> Iterator[dict[str, Any]]:
    """Namespaces of the packages whose modules the model is made of, each once."""
    kinds = {type(module) for module in root.modules()}
    packages = {kind.__module__.partition(".")[0] for kind in kinds} - {"torch", "softgate_ext"}
    loaded = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in packages]
    found = [vars(module) for module in loaded if isinstance(module, ModuleType)]
    found += [vars(torch), *(f.__globals__ for f in (k.forward for k in kinds) if _is_own(f))]
    return iter({id(place): place for place in found}.values())


def _is_own(forward: Any) -> bool:
    where = getattr(forward, "__module__", None) if isinstance(forward, FunctionType) else None
    return where is not None and not where.startswith(("torch.", "softgate_ext"))


def _is_tensor(node: Node) -> bool:
    """Whether a value is taken for a tensor: all are but sizes and the like."""
    if node.op in ("call_method", "call_function"):
        if (node.args[1] if node.target is getattr else node.target) in NO_TENSORS:
            return False
        if node.op == "call_function" and node.target in vars(operator).values():
            return any(map(_is_tensor, node.all_input_nodes))
    return True


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
            with _ONE_AT_A_TIME, self._watch.watched(), _tensors_are_tensors(self, root):
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
