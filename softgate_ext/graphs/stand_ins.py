"""What stands in for a tensor while a forward is traced, and what a model's code is told of it."""

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.fx import Node, Proxy

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


class StandIn(Proxy):
    """Records in-place operators as such; torch.fx's own proxy makes `a += b` an `a = a + b`."""

    tracer: Any  # a RecordingTracer
    _is_param = _is_buffer = False  # what torch.nn asks every Tensor

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        """The class, for who asks for it but by isinstance: it cannot be Tensor for code in C."""
        if not _is_knowing(sys._getframe(1)):
            self.tracer.ask()
        return StandIn


def _in_place(function: Callable[..., Any]) -> Callable[[Proxy, Any], Proxy]:
    def method(self: Proxy, other: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE:
    setattr(StandIn, f"__{_function.__name__}__", _in_place(_function))


# Code that knows stand-ins for tensors, but for what runs code of a model's own, which no graph has
# a step for.
_KNOWING = {"torch", "softgate_ext", "inspect", "abc", "typing"}
_UNKNOWING = {"torch", "torch.autograd.function", "torch.utils.checkpoint"}
_TENSOR = torch.empty(0)


def _is_knowing(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _KNOWING and name not in _UNKNOWING


@contextmanager
def tensors_are_tensors(tracer: Any, root: nn.Module) -> Iterator[None]:
    """While it lasts, the model's code has an isinstance that takes stand-ins for tensors.

    Others keep theirs: what first runs now, and is kept, must not hold this one.
    """

    def isinstance_(value: Any, kind: Any) -> bool:
        if type(value) is not StandIn or value.tracer is not tracer:
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
