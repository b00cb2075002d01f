"""The function that `torch.compile(backend="softgate")` calls with each graph."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import InvalidBackend
from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint

from softgate_ext.compiler.convolutions import Compiled, use_winograd, with_operands
from softgate_ext.compiler.report import Report
from softgate_ext.compiler.rewrite import checkpointed_bodies, is_checkpoint, rewrite
from softgate_ext.errors import InputError
from softgate_ext.nn.convolution import Conv, check_conv


def softgate(
    graph: GraphModule,
    example_inputs: list[Any],
    *,
    options: dict[str, Any] | None = None,
    mode: str | None = None,
) -> Compiled:
    """Replaces the chains of a graph by fused ops, and compiles the graph.

    Args:
        graph: a graph from Dynamo; it is changed.
        example_inputs: its inputs.
        options: "conv" is as in `convert`. "then" names the backend of `torch.compile` that gets the
            rewritten graph and the other options, such as "inductor". Without "then" the rewritten
            graph runs op by op.
        mode: must be None, because modes belong to Inductor.

    Returns:
        A function of the inputs.

    Raises:
        InputError: an option is unknown, or `mode` is given.
    """
    if not isinstance(options, dict | None):
        raise InputError(f"options must be a dict, got {type(options).__name__}")
    options = dict(options or {})
    then = options.pop("then", None)
    conv = options.pop("conv", "direct")
    check_conv(conv)
    if mode is not None:
        raise InputError(
            f"mode must not be given to backend 'softgate', got '{mode}': Inductor takes what it "
            "stands for (torch._inductor.list_mode_options) from options={'then': 'inductor', ...}"
        )
    if then is None and options:
        raise InputError(
            "options of backend 'softgate' must be 'conv', 'then' and those of the backend that it "
            f"names, got '{next(iter(options))}' without 'then'"
        )
    next_backend = None if then is None else further_backend(then)

    def compiled(graph: GraphModule, example_inputs: list[Any]) -> Compiled:
        if next_backend is None:
            return run_by_itself(graph)
        if then == "inductor":
            return torch._inductor.compile(graph, example_inputs, options=options)
        further = {"options": options} if options else {}
        return next_backend(graph, example_inputs, **further)

    return fused(graph, example_inputs, Report(), conv, compiled)


def fused(
    graph: GraphModule,
    example_inputs: list[Any],
    report: Report,
    conv: Conv,
    compiled: Callable[[GraphModule, list[Any]], Compiled],
) -> Compiled:
    """Rewrites a graph and compiles it.

    Args:
        graph: a graph from Dynamo; it is changed.
        example_inputs: its inputs.
        report: where the results are entered.
        conv: as in `convert`.
        compiled: compiles a graph, given example inputs.
    """
    rewrite(graph, report)
    if conv == "direct":
        return compiled(graph, example_inputs)
    # A copy is rewritten, because Dynamo later looks up the source of each input in the original.
    further = GraphModule(graph, copy.deepcopy(graph.graph))
    packings, operands = use_winograd(further, report)
    run = compiled(further, [*example_inputs, *operands])
    return with_operands(run, packings, run_by_itself(graph)) if packings else run


def further_backend(then: object) -> Callable[..., Any]:
    """The backend of `torch.compile` with this name, other than `softgate`.

    Raises:
        InputError: there is no such backend.
    """
    try:
        if isinstance(then, str) and then != "softgate":
            return torch._dynamo.lookup_backend(then)
    except InvalidBackend:
        pass
    raise InputError(
        f"then must be the name of another backend, got {then!r}: "
        "torch.compiler.list_backends() has them"
    )


def run_by_itself(graph: GraphModule) -> Compiled:
    """The graph as a function that runs it op by op."""
    _checkpoint_for_real(graph)
    return graph.forward


def _checkpoint_for_real(graph: GraphModule) -> None:
    """Replaces Dynamo's marker for activation checkpointing, which only compilers act on, by a call
    that does it."""
    for body in checkpointed_bodies(graph):
        _checkpoint_for_real(body)
    for node in graph.graph.nodes:
        if is_checkpoint(node):
            node.target = _checkpointed
    graph.recompile()


def _checkpointed(body: GraphModule, *args: Any, **options: Any) -> Any:
    options["use_reentrant"] = False
    if (contexts := body.meta.get("_checkpoint_context_fn")) is not None:
        options["context_fn"] = contexts
    # `checkpoint` saves its arguments. Only tensors that require a gradient are given to it, since a
    # saved tensor must not be written to, as buffers are. The arguments also tell it on which devices
    # to restore the random state.
    saved = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    kept = [None if i in saved else a for i, a in enumerate(args)]

    def run(*tensors: Tensor) -> Any:
        given = list(kept)
        for i, tensor in zip(saved, tensors, strict=True):
            given[i] = tensor
        return body(*given)

    return checkpoint(run, *(args[i] for i in saved), **options)
