"""`convert` and `explain`: the backend for one model."""

import copy
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch._dynamo.utils import counters
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from softgate_ext.compiler.dynamo import further_backend, fused, run_by_itself, softgate
from softgate_ext.compiler.report import Report
from softgate_ext.errors import InputError
from softgate_ext.nn.convolution import Conv, check_conv

# Each model has its own count of recompilations, whatever else is of its class.
_parameters = inspect.signature(torch.compile).parameters
_ISOLATED: dict[str, Any] = (
    {"isolate_recompiles": True} if "isolate_recompiles" in _parameters else {}
)


def convert(
    model: nn.Module,
    *,
    then: str | None = None,
    dynamic: bool | None = None,
    fullgraph: bool = False,
    conv: Conv = "direct",
) -> nn.Module:
    """Compiles a model, in place, with the backend `softgate` of `torch.compile`.

    Chains of addition, batch norm and ReLU become fused ops, wherever they are found. Before the
    addition there may be a scale per channel, a concatenation of up to four branches or nearest 2x
    upsampling; each part but one may be missing. The first call traces, and so does each later one
    that differs in what was traced: the mode, dtypes, whether gradients are wanted.

    Args:
        model: any module.
        then: the backend of `torch.compile` that compiles what is left, such as "inductor".
        dynamic, fullgraph: as in `torch.compile`.
        conv: "direct", the model's convolutions as they are, or "winograd", which computes those of
            3x3 with stride 1 and a border of 1 on the CPU with a quarter of the multiplications, in
            float32, and in bfloat16 where that is faster, under autocast too, in calls that want no
            gradient and in which no batch norm trains. A
            batch norm with ReLU before such a convolution and a batch norm after it become part of
            it. Weights are transformed in the first call, into four times their memory, and again
            when PyTorch has counted a change of them, which it does not of writes into `.data`.

    Returns:
        `model` itself, compiled: the same parameters, the same state_dict. A copy of it, or what is
        unpickled, is not compiled.

    Raises:
        InputError: `model` is no module, or one that `torch.compile` or `torch.jit` has made;
            `then` names no other backend, or `conv` is neither.
    """
    _check(model)
    check_conv(conv)
    options: dict[str, Any] = {"conv": conv}
    if then is not None:
        further_backend(then)  # that there is one
        options["then"] = then
    model.compile(
        backend=softgate, dynamic=dynamic, fullgraph=fullgraph, options=options, **_ISOLATED
    )
    return model


def explain(model: nn.Module, *inputs: Any, conv: Conv = "direct", **keywords: Any) -> Report:
    """Prints what `convert` would fuse in a call of the model, what it would leave, and why.

    A copy of the model is called once, with copies of the inputs.

    Args:
        model: any module.
        inputs, keywords: of the call.
        conv: as in `convert`.

    Returns:
        What is printed.

    Raises:
        InputError: `model` is no module, or one that `torch.compile` or `torch.jit` has made; it or
            an input cannot be copied; `conv` is neither.
    """
    _check(model)
    check_conv(conv)
    report = Report()

    def backend(graph: GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        report.graphs += 1
        return fused(graph, example_inputs, report, conv, lambda graph, _: run_by_itself(graph))

    before = Counter(counters["graph_break"])
    try:
        twin = copy.deepcopy(model)
        inputs, keywords = pytree.tree_map_only(Tensor, _copied, (inputs, keywords))
    except Exception as error:  # of anything that a module may hold
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"model and inputs must be such as copy.deepcopy can copy, got {type(model).__name__} "
            f"({reason})"
        ) from error
    given = [*pytree.tree_leaves((inputs, keywords)), *twin.parameters()]
    devices = {t.device for t in given if isinstance(t, Tensor)}
    with torch.random.fork_rng([d for d in devices if d.type == "cuda"]):
        torch.compile(twin, backend=backend, **_ISOLATED)(*inputs, **keywords)
    reasons = Counter(counters["graph_break"]) - before
    report.breaks += [reason.strip().splitlines()[0] for reason in reasons]
    print(report)
    return report


def _copied(t: Tensor) -> Tensor:
    return t.detach().clone().requires_grad_(t.requires_grad)


def _check(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, OptimizedModule):
        raise InputError(
            "model must be one that torch.compile has not wrapped yet, got its OptimizedModule: "
            "give the model itself"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            f"model must be one that torch.compile can trace, got a {type(model).__name__} of "
            "torch.jit: give the model that it was made from"
        )
