"""`fold`: a trained network as the network that only predicts."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule
from torch.utils._pytree import tree_map

from softgate_ext import ops
from softgate_ext.errors import InputError
from softgate_ext.folding.norm import ScaleShift
from softgate_ext.folding.rules import Rules
from softgate_ext.folding.trace import inference_graph
from softgate_ext.graphs.arguments import Arguments
from softgate_ext.ops.schema import accumulator

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_SUMS = (ops.gated_residual, ops.skip_merge)


class Folded(nn.Module):
    """A network for inference, made by `fold`.

    Takes the inputs of the network that it was made from, of any batch and image size, and returns
    its results, in the dtype that was asked for. Stateless: threads may share one.

    Attributes:
        network: the graph; `print(folded.network.code)` shows every step and where each activation
            is released.
    """

    def __init__(self, network: GraphModule, arguments: Arguments):
        super().__init__()
        self.network = network
        self.arguments = arguments
        self.eval()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Calls the network.

        Raises:
            InputError: An argument is missing or too many, or an optional one is not at its default.
        """
        values = self.arguments.match(inputs, options)
        if isinstance(values, str):
            raise InputError(f"the folded network: {values}")
        return self.network(*values)

    def train(self, mode: bool = True) -> "Folded":
        """Takes False alone.

        Raises:
            InputError: `mode` is True.
        """
        if mode:
            raise InputError(
                "mode must be False, since a folded network has no statistics to train with, "
                "got True"
            )
        super().train(False)
        return self


def fold(model: nn.Module, dtype: torch.dtype | None = None, channels_last: bool = False) -> Folded:
    """The network for inference, with batch norms folded and every activation written once.

    A batch norm with running statistics becomes a scale and a shift per channel, computed once, in
    float64. Where it alone reads a convolution it moves into that convolution's weights. It cannot
    in the chain of a block, whose convolutions are branches of the sum as they come, so it stays in
    the fused op there. The two 1x1 convolutions that lead features and heatmaps back into the next
    stack are one, and so are the steps that normalise the images.

    What is left is one flat graph without copies, concatenations and in-place changes: each step
    writes its results to memory of their own and releases what no later step reads, so that they
    live as shortly as they can and the allocator hands the same memory on. Nothing belongs to a
    shape or a thread.

    Args:
        model: any network of this package, or a module made of `softgate_ext.nn` and PyTorch's own
            that torch.fx can trace. It stays as it is, and shares nothing with the result.
            Norms with batch statistics, and those with hooks, stay what they are.
        dtype: of activations and convolutions, inputs included: float32, float64, float16 or
            bfloat16, with vectors per channel in float32 (float64). None leaves all dtypes.
        channels_last: whether inputs and weights are brought to that layout; False leaves them.

    Returns:
        The folded network, in evaluation mode for good, without gradients; its state_dict is its
        own. Outputs agree with the model's in evaluation to 1e-5 of the largest in float32. It
        takes the model's arguments, those with a default at their default alone.

    Raises:
        InputError: an argument of another kind, a model that torch.fx cannot trace, or one with
            hooks that would no longer run.
    """
    _check(model, dtype, channels_last)
    root = copy.deepcopy(model).eval().requires_grad_(False)
    graph, arguments = inference_graph(root)
    Rules(root, graph, dtype).run()
    layout = torch.channels_last if channels_last else torch.preserve_format
    if dtype is not None or channels_last:
        _convert_inputs(graph, dtype, layout)
        _convert_weights(root, graph, dtype, layout)
    graph.lint()
    return Folded(GraphModule(root, graph, "FoldedGraph"), arguments)


def as_input(x: Any, dtype: torch.dtype | None, layout: torch.memory_format) -> Any:
    """Floating-point tensors in the network's dtype and layout; anything else as it is."""

    def convert(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.to(
            dtype=value.dtype if dtype is None else dtype,
            memory_format=layout if value.dim() == 4 else torch.preserve_format,
        )

    return tree_map(convert, x)


def _check(model: Any, dtype: Any, channels_last: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, Folded):
        raise InputError("model must be the network to fold, got one that is folded already")
    if dtype is not None and dtype not in _DTYPES:
        names = ", ".join(str(d).removeprefix("torch.") for d in _DTYPES)
        raise InputError(f"dtype must be one of {names} or None, got {dtype!r}")
    if not isinstance(channels_last, bool):
        raise InputError(f"channels_last must be True or False, got {channels_last!r}")


def _convert_inputs(graph: Graph, dtype: torch.dtype | None, layout: torch.memory_format) -> None:
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for node in inputs:
        with graph.inserting_after(inputs[-1]):
            converted = graph.call_function(as_input, (node, dtype, layout))
        converted.meta["is_wrapped"] = True  # a call is a step of the graph wherever it is traced
        node.replace_all_uses_with(converted)
        converted.update_arg(0, node)


def _convert_weights(
    root: nn.Module, graph: Graph, dtype: torch.dtype | None, layout: torch.memory_format
) -> None:
    """Convolutions and the like to dtype and layout; gates stay as wide as what they multiply."""
    for node in graph.nodes:
        if node.op == "call_module":
            module = root.get_submodule(node.target)
            if not isinstance(module, ScaleShift):
                module.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
        elif node.op == "get_attr" and dtype is not None:
            owner_name, _, name = node.target.rpartition(".")
            owner = root.get_submodule(owner_name)
            value = getattr(owner, name)
            if isinstance(value, Tensor) and value.is_floating_point():
                gate = all(_takes_gates(user, root) for user in node.users)
                kept = value.to(accumulator(dtype) if gate else dtype)
                if isinstance(value, nn.Parameter):
                    kept = nn.Parameter(kept, requires_grad=False)
                setattr(owner, name, kept)


def _takes_gates(node: Any, root: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(root.get_submodule(node.target), ScaleShift)
    return node.op == "call_function" and node.target in _SUMS
