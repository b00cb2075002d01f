"""The Triton ops in eager mode: a call skips PyTorch's dispatcher if nothing needs to see the op.

For small tensors the time of a call is the time that the CPU spends on it. The dispatcher with
Python kernels costs as much as a launch. A call that records no gradient therefore replays its tape
(a recorded list of launches, ``triton_kernels/replay.py``). If a gradient is recorded, the autograd
node of the compiled extension (``csrc/autograd.cpp``) takes the call. Without the extension, a plain
``torch.autograd.Function`` over the same formulas takes it, at a tenth of the cost of
``torch.library.register_autograd``. The op goes through the dispatcher if a mode, a tracer, the
profiler or a tensor subclass wants to see it.
"""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.autograd import FORMULAS, Formula
from softgate_ext.ops.backend import extension
from softgate_ext.ops.schema import SCHEMAS, TRITON_NAMESPACE
from softgate_ext.ops.triton import IMPLEMENTATIONS

_PLAIN = (Tensor, torch.nn.Parameter)
_dispatch_modes, _function_modes, _tracing, _profiling = (
    torch._C._len_torch_dispatch_stack,
    torch._C._len_torch_function_stack,
    torch._C._get_tracing_state,
    torch.autograd._profiler_enabled,
)


def _chosen(name: str, function: Any) -> Callable:
    op = getattr(getattr(torch.ops, TRITON_NAMESPACE), name).default
    find = IMPLEMENTATIONS[name].find

    def call(*args: Any) -> Any:
        found = None if is_watched() or (function is None and wants_gradient(args)) else find(args)
        if found is None:
            return op(*args)
        tape, tensors = found
        if any(type(t) not in _PLAIN or t.is_neg() for t in tensors):
            return op(*args)
        if function is None or not wants_gradient(tensors):
            return tape.play(tensors, moments=False)
        return function.apply(found, *_flat(args))

    return call


def is_watched() -> bool:
    """Whether a mode, a tracer or the profiler may want to see the op itself."""
    return bool(_dispatch_modes() or _function_modes() or _tracing() or _profiling())


def wants_gradient(args: Iterable[Any]) -> bool:
    """Whether autograd records a call, because a tensor among the arguments requires a gradient."""
    if not torch.is_grad_enabled():
        return False
    for a in args:
        if isinstance(a, Tensor):
            if a.requires_grad:
                return True
        elif type(a) is list and wants_gradient(a):
            return True
    return False


def _flat(args: tuple) -> tuple:
    """The arguments without nesting, after the length of the list that the second argument is, or -1.

    ``autograd.Function`` ignores tensors inside a list.
    """
    if type(args[1]) is list:
        return len(args[1]), args[0], *args[1], *args[2:]
    return -1, *args


def _nested(count: int, flat: tuple) -> tuple:
    """The inverse of ``_flat``."""
    if count < 0:
        return flat
    return flat[0], list(flat[1 : 1 + count]), *flat[1 + count :]


def _function(formula: Formula) -> Any:
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, found, count, *flat):
            tape, tensors = found
            result = tape.play(tensors, moments=False)
            ctx.ops, ctx.count = eager_ops, count
            formula.setup(ctx, _nested(count, flat), result)
            return result

        @staticmethod
        def backward(ctx, *gradients):
            needs = _nested(ctx.count, ctx.needs_input_grad[2:])
            grads = formula.backward(ctx, needs, *gradients)
            return None, None, *_flat(tuple(grads))[1:]

    return Function


eager_ops = SimpleNamespace()  # every op of SCHEMAS is an attribute
for _name in SCHEMAS:
    # A backward op has no formula: the op itself refuses to be differentiated.
    _formula = None if extension() is not None else FORMULAS.get(_name)
    setattr(eager_ops, _name, _chosen(_name, _formula and _function(_formula)))
