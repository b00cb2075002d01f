"""A module's forward as a graph that holds in training and in inference."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.fx import Graph
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext.graphs.arguments import Arguments
from softgate_ext.graphs.trace import RecordingTracer
from softgate_ext.nn.norm import has_hooks


class Untraceable(Exception):
    """Why a forward cannot be a graph, in one line."""


def shallow_copy(module: nn.Module) -> nn.Module:
    """Another module of the same class with the same children, parameters and buffers."""
    result = copy.copy(module)
    result.__dict__ = module.__dict__.copy()
    for name in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
        result.__dict__[name] = module.__dict__[name].copy()
    return result


@dataclass(frozen=True)
class Traced:
    """A forward as a graph.

    Attributes:
        graph: takes the arguments that `arguments` names.
        arguments: the forward's.
        inlined: paths of the modules whose forward is part of the graph, so that no call of theirs
            is left.
    """

    graph: Graph
    arguments: Arguments
    inlined: list[str]


def trace(root: nn.Module) -> Traced:
    """The graph of `root.forward`; tensors it creates on the way become buffers of `root`.

    Raises:
        Untraceable: Control flow depends on values, the forward differs between training and
            inference beyond its submodules, or `root` has hooks, which a graph would not run.
    """
    if has_hooks(root):
        raise Untraceable("it has hooks, which a traced forward would run once")
    if type(root).forward is nn.Module.forward or "forward" in vars(root):
        raise Untraceable("its class has no forward of its own")
    traced = _in_both_modes(root, lambda m: False) or _in_both_modes(root, _reads_mode)
    if traced is None:
        raise Untraceable("its forward differs between training and inference")
    for name in [n for n in vars(root) if n.startswith("_tensor_constant")]:
        root.register_buffer(name, root.__dict__.pop(name), persistent=False)
    return traced


def is_ours(module: nn.Module) -> bool:
    """Whether a module is of this package, whose ops are fused as they are."""
    return type(module).__module__.partition(".")[0] == "softgate_ext"


class _Tracer(RecordingTracer):
    # A forward that changes a buffer would change it once, now.
    proxy_buffer_attributes = True

    def __init__(self, keep: Callable[[nn.Module], bool]):
        super().__init__()
        self.keep = keep

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, _BatchNorm) or has_hooks(m) or is_ours(m) or self.keep(m)
        return own or super().is_leaf_module(m, module_qualified_name)


def _in_both_modes(root: nn.Module, keep: Callable[[nn.Module], bool]) -> Traced | None:
    graphs = []
    for mode in (True, False):
        tracer = _Tracer(keep)
        with _mode(root, mode):
            try:
                arguments = Arguments(root.forward)
                graphs.append(tracer.graph_of(root, arguments))
            except Exception as error:  # the forward is anybody's code, and sees no tensors
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise Untraceable(f"torch.fx cannot trace it ({lines[0]})") from error
    training, inference = graphs
    if _text(training) != _text(inference):
        return None
    return Traced(training, arguments, tracer.inlined)


def _text(graph: Graph) -> list[str]:
    """What the graph does, with the constants made in the two traces under one name."""
    return [
        f"{n.op} {n.target} {n.args} {n.kwargs}"
        if not str(n.target).startswith("_tensor_constant")
        else n.op
        for n in graph.nodes
    ]


def _reads_mode(module: nn.Module) -> bool:
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and "training" in code.co_names


@contextmanager
def _mode(root: nn.Module, training: bool) -> Iterator[None]:
    before = [(m, m.training) for m in root.modules()]
    for module, _ in before:
        module.training = training
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
