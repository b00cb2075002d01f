"""A module's forward as a graph that holds in training and in inference."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
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
        kept: paths of the modules that are called as they are, since no graph holds what they do.
    """

    graph: Graph
    arguments: Arguments
    inlined: list[str]
    kept: set[str]


def trace(root: nn.Module) -> Traced:
    """The graph of `root.forward`; tensors it creates on the way become buffers of `root`.

    Raises:
        Untraceable: Control flow depends on values, the forward does what no graph records or
            differs between training and inference beyond its submodules, or `root` has hooks, which
            a graph would not run.
    """
    if has_hooks(root):
        raise Untraceable("it has hooks, or a forward of its own, which a traced one would not be")
    if type(root).forward is nn.Module.forward:
        raise Untraceable("its class has no forward")
    arguments, kept = Arguments(root.forward), set[str]()
    while True:
        # A forward that asks whether gradients are wanted differs in the two as well.
        with _mode(root, True), torch.enable_grad():
            training = _traced(root, arguments, kept)
        with _mode(root, False), torch.no_grad():
            inference = _traced(root, arguments, kept)
        effects = training.effects | inference.effects
        if "" in effects:
            raise Untraceable(f"it {effects['']}")
        if not effects and _text(training.graph) == _text(inference.graph):
            break
        new = set(effects) or {path for path, m in root.named_modules() if path and _reads_mode(m)}
        if new <= kept:
            raise Untraceable("its forward differs between training and inference")
        # What a class does in one place it does in others, so that few attempts are needed.
        kinds = {type(root.get_submodule(path)) for path in new} if effects else set()
        kept |= new | {path for path, m in root.named_modules() if path and type(m) in kinds}
    for name in [n for n in vars(root) if n.startswith("_tensor_constant")]:
        root.register_buffer(name, root.__dict__.pop(name), persistent=False)
    return Traced(training.graph, arguments, training.inlined, kept)


def is_ours(module: nn.Module) -> bool:
    """Whether a module is of this package, whose ops are fused as they are."""
    return type(module).__module__.partition(".")[0] == "softgate_ext"


class _Tracer(RecordingTracer):
    # A forward that changes a buffer would change it once, now.
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, _BatchNorm) or has_hooks(m) or is_ours(m)
        return own or super().is_leaf_module(m, module_qualified_name)


def _traced(root: nn.Module, arguments: Arguments, kept: set[str]) -> _Tracer:
    """A tracer that has traced."""
    tracer = _Tracer(kept)
    try:
        tracer.graph = tracer.graph_of(root, arguments)
    except Exception as error:  # the forward is anybody's code, and sees no tensors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"cannot be traced by torch.fx ({lines[0]})"
        tracer.graph = Graph()
        tracer.effects = {tracer.last: reason}
    return tracer


def _text(graph: Graph) -> list[str]:
    """What the graph does, with the constants made in the two traces under one name."""
    return [
        f"{n.op} {n.target} {n.args} {n.kwargs}"
        if not str(n.target).startswith("_tensor_constant")
        else n.op
        for n in graph.nodes
    ]


def _reads_mode(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return False  # a step of the graph in any case
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
