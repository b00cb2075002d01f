"""The backend `softgate` of `torch.compile`."""

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
    """Puts the fused ops in the place of the chains of a graph.

    Args:
        graph: from Dynamo; it is changed.
        example_inputs: its inputs.
        options: `conv` is as in `convert`. `then` names the backend of `torch.compile` that gets the
            rewritten graph, such as "inductor", with the other options; without it the graph runs
            as it is.
        mode: must not be given: it is Inductor's.

    Raises:
        InputError: `options` or `mode` say what nobody takes.
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
    """The graph with what can be fused in it, compiled.

    Args:
        graph: from Dynamo; it is changed.
        example_inputs: its inputs.
        report: takes what is found.
        conv: as in `convert`.
        compiled: makes a function of a graph and inputs like those that it will get.
    """
    rewrite(graph, report)
    if conv == "direct":
        return compiled(graph, example_inputs)
    # Of the one that it traced Dynamo asks later where each input comes from.
    further = GraphModule(graph, copy.deepcopy(graph.graph))
    packings, operands = use_winograd(further, report)
    run = compiled(further, [*example_inputs, *operands])
    return with_operands(run, packings, run_by_itself(graph)) if packings else run


def further_backend(then: object) -> Callable[..., Any]:
    """The backend of `torch.compile` of this name, which is another one.

    Raises:
        InputError: there is none.
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
    """The graph as it is, step by step."""
    _checkpoint_for_real(graph)
    return graph.forward


def _checkpoint_for_real(graph: GraphModule) -> None:
    """Dynamo's step for activation checkpointing is one for compilers; here it has to be done."""
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
    # What is handed over is saved, which nothing that is written may be, as buffers are; and it says
    # of which devices the random numbers are to be drawn again.
    saved = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    kept = [None if i in saved else a for i, a in enumerate(args)]

    def run(*tensors: Tensor) -> Any:
        given = list(kept)
        for i, tensor in zip(saved, tensors, strict=True):
            given[i] = tensor
        return body(*given)

    return checkpoint(run, *(args[i] for i in saved), **options)
