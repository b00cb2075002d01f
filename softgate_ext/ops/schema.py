"""The schemas of the dispatcher ops: the one table from which the rest of an op is made.

An argument, or a result, means the same under its name in every op, so that checks, fake kernels,
the fallback and autograd are written once for all of them, here and in C++ (``csrc/arguments.h``).
A merge has names of its own: its ``skip`` is another op's ``x``, its ``merged`` the ``y``.

Each op exists twice, from one schema: in ``softgate`` with the compiled kernels, and in
``softgate_triton`` with the Triton kernels. The name of an op says which kernels it calls, so that
the two can be had side by side and a compiled graph keeps the ones that it was traced with.

Declared in Python, so that the ops exist with and without a compiler; the compiled extension, where
there is one, adds its kernels to those of ``softgate``. The ops are functional: they return the
batch statistics (``mean`` and biased ``var``, float32, or float64 beside float64; empty in
evaluation), and the public functions update the running ones. No argument has a default: the
dispatcher drops arguments equal to one, and autograd would then see another number of inputs. A
backward op returns the wanted gradients only, as one list in the order of ``needs``.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from softgate_ext.ops import backend

NAMESPACE = "softgate"
TRITON_NAMESPACE = "softgate_triton"

_NORM = (
    "Tensor? running_mean, Tensor? running_var, Tensor? weight, Tensor? bias, "
    "bool training, float eps, bool relu"
)
_NORM_SAVED = (
    "Tensor mean, Tensor var, Tensor? weight, Tensor? bias, bool training, float eps, bool relu"
)

SCHEMAS = {
    "gated_residual": "(Tensor x, Tensor[] branches, Tensor? alpha) -> Tensor y",
    # needs: x, branches, alpha
    "gated_residual_backward": (
        "(Tensor dy, Tensor? x, Tensor? alpha, SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "gated_residual_bn_relu": (
        f"(Tensor x, Tensor[] branches, Tensor? alpha, {_NORM})"
        " -> (Tensor y, Tensor z, Tensor mean, Tensor var)"
    ),
    # needs: x, branches, alpha, weight, bias
    "gated_residual_bn_relu_backward": (
        f"(Tensor? dy, Tensor dz, Tensor y, Tensor? x, Tensor? alpha, {_NORM_SAVED}, "
        "SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "bn_relu": f"(Tensor x, {_NORM}) -> (Tensor z, Tensor mean, Tensor var)",
    # needs: x, weight, bias
    "bn_relu_backward": f"(Tensor dz, Tensor x, {_NORM_SAVED}, bool[] needs) -> Tensor[]",
    "skip_merge": (
        "(Tensor skip, Tensor[] branches, Tensor low, Tensor? alpha, str mode) -> Tensor merged"
    ),
    # needs: skip, branches, low, alpha
    "skip_merge_backward": (
        "(Tensor dmerged, Tensor? skip, Tensor? alpha, SymInt channels, str mode, "
        "SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "skip_merge_bn_relu": (
        f"(Tensor skip, Tensor[] branches, Tensor low, Tensor? alpha, {_NORM}, str mode)"
        " -> (Tensor merged, Tensor z, Tensor mean, Tensor var)"
    ),
    # needs: skip, branches, low, alpha, weight, bias
    "skip_merge_bn_relu_backward": (
        "(Tensor? dmerged, Tensor dz, Tensor merged, Tensor? skip, Tensor? alpha, "
        f"{_NORM_SAVED}, SymInt channels, str mode, SymInt[] split, bool[] needs) -> Tensor[]"
    ),
}

library = torch.library.Library(NAMESPACE, "DEF")
triton_library = torch.library.Library(TRITON_NAMESPACE, "DEF")
LIBRARIES = {NAMESPACE: library, TRITON_NAMESPACE: triton_library}
for _library in LIBRARIES.values():
    for _name, _schema in SCHEMAS.items():
        _library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))
backend.serve(SCHEMAS)

_OF_A_MERGE = {"skip": "x", "merged": "y", "dmerged": "dy"}
_LEARNT = ("x", "branches", "low", "alpha", "weight", "bias")


def _names(op: str, names: list[str]) -> dict[str, str]:
    found = {_OF_A_MERGE.get(name, name): name for name in names}
    if "dz" in found and "y" not in found:  # its x is the sum that was normalised
        found = {"y" if role == "x" else role: name for role, name in found.items()}
    return found


_parsed = {op: getattr(torch.ops.softgate, op).default._schema for op in SCHEMAS}
# The arguments of each op by what they are, in order: what the schema calls them. And its results.
TAKES = {op: _names(op, [a.name for a in parsed.arguments]) for op, parsed in _parsed.items()}
GIVES = {op: [*_names(op, [r.name for r in parsed.returns])] for op, parsed in _parsed.items()}


def check_name(op: str, gives: list[str]) -> None:
    """Where z takes part in no loss, the backward of the sum alone serves an op: found by its name."""
    if {"y", "z"} <= {*gives} and op.removesuffix("_bn_relu") not in SCHEMAS.keys() - {op}:
        raise RuntimeError(f"{op} must be called <op>_bn_relu after the op of its sum alone")


for _op, _gives in GIVES.items():
    check_name(_op, _gives)


class Call:
    """The arguments of one call of an op as attributes, None where the op has no such argument.

    A merge has its skip as ``x`` and its sum as ``y``; ``names`` says what the schema calls them.
    """

    def __init__(self, op: str, args: tuple):
        self.op, self.names = op, TAKES[op]
        for name, value in zip(self.names, args, strict=True):  # one by one: Dynamo traces that
            setattr(self, name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def normalises(self) -> bool:
        return "training" in self.names

    @property
    def sums(self) -> bool:
        """Whether a gated skip is part of the result."""
        return "alpha" in self.names


for _name in {name for takes in TAKES.values() for name in takes}:
    setattr(Call, _name, None)


@cache
def differentiable(op: str) -> list[str]:
    """The arguments that may want a gradient, in the order of ``needs`` and of a backward's list."""
    return [name for name in TAKES[op.removesuffix("_backward")] if name in _LEARNT]


def results(op: str, **make: Callable[[], Any]) -> Any:
    """What a forward op returns, each made by the function of its name."""
    made = tuple(make[name]() for name in GIVES[op])
    return made if len(made) > 1 else made[0]


def wanted_gradients(c: Call, **make: Callable[[], Any]) -> list[Tensor]:
    """The list of a backward op: what ``needs`` asks for, each made by the function of its name."""
    found: list[Tensor] = []
    for name, need in zip(differentiable(c.op), c.needs, strict=True):
        if need:
            made = make[name]()
            found += made if name == "branches" else [made]
    return found


def layout_of(t: Tensor) -> torch.memory_format:
    """The layout of an op's outputs: channels_last where the tensor is, else contiguous."""
    return torch._prims_common.suggest_memory_format(t)


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of statistics and sums beside activations of ``dtype``."""
    return torch.float64 if dtype == torch.float64 else torch.float32
