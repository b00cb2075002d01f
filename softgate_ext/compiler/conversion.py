"""`convert` and `explain`: compile one model with the backend, or report what it would do."""

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

# Each model gets its own limit of recompilations, even if other models are of the same class.
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

    Chains of addition, batch norm and ReLU become fused ops. Before the addition there may be a scale
    per channel, a concatenation of up to four branches, or nearest 2x upsampling. Parts may be missing,
    but at least two must be there. The first call traces the model. A later call traces again if
    something that was traced has changed: training mode, dtypes, or whether gradients are required.

    Args:
        model: any module.
        then: the backend of `torch.compile` that compiles the rewritten graph, such as "inductor".
        dynamic, fullgraph: as in `torch.compile`.
        conv: "direct" keeps the model's convolutions. "winograd" runs Winograd's algorithm, with a
            quarter of the multiplications, in 3x3 convolutions of stride 1 and padding 1 on the CPU.
            It does so in float32, and in bfloat16 (also under autocast) if that is faster, in calls
            that record no gradient and in which no batch norm is in training. A batch norm with ReLU
            before such a convolution, and a batch norm after it, become part of it. The weights are
            transformed in the first call, to four times their memory. They are transformed again
            when PyTorch has counted a change of them; it does not count writes to `.data`.

    Returns:
        `model` itself, compiled, with the same parameters and the same state_dict. A copy of it, or a
        pickled and loaded one, is not compiled.

    Raises:
        InputError: `model` is not a module, or one that `torch.compile` or `torch.jit` has made;
            `then` is not the name of another backend; or `conv` has another value.
    """
    _check(model)
    check_conv(conv)
    options: dict[str, Any] = {"conv": conv}
    if then is not None:
        further_backend(then)  # raises here if there is no such backend
        options["then"] = then
    model.compile(
        backend=softgate, dynamic=dynamic, fullgraph=fullgraph, options=options, **_ISOLATED
    )
    return model


def explain(model: nn.Module, *inputs: Any, conv: Conv = "direct", **keywords: Any) -> Report:
    """Prints what `convert` would fuse in a call of the model, what it would not fuse, and why.

    A copy of the model is called once, with copies of the inputs.

    Args:
        model: any module.
        inputs, keywords: the arguments of the call.
        conv: as in `convert`.

    Returns:
        The printed report.

    Raises:
        InputError: `model` is not a module, or one that `torch.compile` or `torch.jit` has made; the
            model or an input cannot be copied; or `conv` has another value.
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
    except Exception as error:  # a module may hold any object, whose copy may raise anything
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
