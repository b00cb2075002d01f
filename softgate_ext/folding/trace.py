"""A network's inference as a flat graph of modules, plain functions and the ops of this package."""

from collections.abc import Callable, Collection
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph

from softgate_ext.errors import InputError
from softgate_ext.graphs.arguments import Arguments
from softgate_ext.graphs.effects import ASKS, AUTOCAST, RANDOM
from softgate_ext.graphs.norms import activation_within
from softgate_ext.graphs.trace import RecordingTracer
from softgate_ext.nn.norm import has_hooks

_LOST = (ASKS, AUTOCAST, RANDOM)  # what inference shows of what a graph does not hold


class InferenceTracer(RecordingTracer):
    """Looks parameters and buffers up by a table: torch.fx goes through all of them for each."""

    def __init__(self, keep: Collection[str] = ()) -> None:
        super().__init__(keep)
        self.names: dict[int, str] = {}

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of the module's forward."""
        tensors = chain(root.named_parameters(), root.named_buffers())
        self.names = {id(tensor): name for name, tensor in tensors}
        return super().trace(root, concrete_args)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter as a step of the graph."""
        name = self.names.get(id(attr_val))
        if name is None or not isinstance(attr_val, nn.Parameter):
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def create_arg(self, a: Any) -> Any:
        """A tensor of the network as a step of the graph."""
        name = self.names.get(id(a)) if isinstance(a, Tensor) else None
        return super().create_arg(a) if name is None else self.create_node("get_attr", name, (), {})

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of the module is one step."""
        own = activation_within(m) is not None
        return own or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Refuses hooks that would run now, on no tensors, and never again."""
        name = self.path_of_module(m)
        if has_hooks(m) and not self.is_leaf_module(m, name):
            raise InputError(f"model must have no hooks on modules of its own, got one on {name!r}")
        return super().call_module(m, forward, args, kwargs)


def inference_graph(model: nn.Module) -> tuple[Graph, Arguments]:
    """The graph of `model.forward`, and which arguments it takes.

    Args:
        model: in evaluation mode.

    Raises:
        InputError: torch.fx cannot trace it, or it has hooks that a graph would not run.
    """
    if has_hooks(model):
        raise InputError("model must have no hooks, got some, which a folded network would not run")
    kept: set[str] = set()
    try:
        while True:
            tracer = InferenceTracer(kept)
            arguments = Arguments(model.forward)
            graph = tracer.graph_of(model, arguments)
            lost = {path for path, what in tracer.effects.items() if what in _LOST}
            if "" in lost:
                raise InputError(
                    "model must be one that torch.fx can trace, got one whose forward "
                    + tracer.effects[""]
                )
            if lost <= kept:
                return graph, arguments
            kept |= lost
    except InputError:
        raise
    except Exception as error:  # the forward is anybody's code, and sees no tensors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"model must be one that torch.fx can trace, got {type(model).__name__} ({lines[0]})"
        ) from error
