"""The schemas of the dispatcher ops: the table from which the other parts of an op are made.

An argument or result of one name means the same in every op. Checks, fake kernels, the fallback and
autograd are therefore written once for all ops, here and in C++ (``csrc/arguments.h``). The merge
ops use names of their own: ``skip`` plays the part of ``x``, and ``merged`` that of ``y``.

Each schema gives two ops: one in the namespace ``softgate`` with the compiled kernels, and one in
``softgate_triton`` with the Triton kernels. The name of an op thus tells which kernels it calls, both
can be used side by side, and a compiled graph keeps the kernels that it was traced with.

The schemas are declared in Python, so that the ops exist without a C++ compiler. The compiled
extension adds its kernels to the ops of ``softgate``. The ops are functional. They return the batch
statistics (``mean`` and biased ``var``, float64 for float64 activations, else float32; empty in
evaluation), and the public functions update the running statistics. No argument has a default,
because the dispatcher drops arguments that equal their default, and autograd would then see a
varying number of inputs. A backward op returns one list with the gradients that ``needs`` asks for,
in the order of ``needs``.
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
    if "dz" in found and "y" not in found:  # the x of `bn_relu_backward` is the normalised tensor
        found = {"y" if role == "x" else role: name for role, name in found.items()}
    return found


_parsed = {op: getattr(torch.ops.softgate, op).default._schema for op in SCHEMAS}
# For each op, its arguments in order: from the common name (such as x) to the schema's (such as skip).
# And the common names of its results.
TAKES = {op: _names(op, [a.name for a in parsed.arguments]) for op, parsed in _parsed.items()}
GIVES = {op: [*_names(op, [r.name for r in parsed.returns])] for op, parsed in _parsed.items()}


def check_name(op: str, gives: list[str]) -> None:
    """Checks that an op with y and z is named after the op of its sum alone.

    If z takes part in no loss, autograd calls the backward of that op and finds it by this name.

    Raises:
        RuntimeError: the op has another name.
    """
    if {"y", "z"} <= {*gives} and op.removesuffix("_bn_relu") not in SCHEMAS.keys() - {op}:
        raise RuntimeError(f"{op} must be called <op>_bn_relu after the op of its sum alone")


for _op, _gives in GIVES.items():
    check_name(_op, _gives)


class Call:
    """The arguments of one call of an op as attributes, None if the op has no such argument.

    The skip of a merge is ``x``, and its merged tensor is ``y``. ``names`` gives the schema's names.
    """

    def __init__(self, op: str, args: tuple):
        self.op, self.names = op, TAKES[op]
        for name, value in zip(self.names, args, strict=True):  # Dynamo can trace this loop
            setattr(self, name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def normalises(self) -> bool:
        """Whether the op has a batch norm."""
        return "training" in self.names

    @property
    def sums(self) -> bool:
        """Whether the op adds a gated skip connection."""
        return "alpha" in self.names


for _name in {name for takes in TAKES.values() for name in takes}:
    setattr(Call, _name, None)


@cache
def differentiable(op: str) -> list[str]:
    """The arguments that may require a gradient, in the order of ``needs`` and of the gradients."""
    return [name for name in TAKES[op.removesuffix("_backward")] if name in _LEARNT]


def results(op: str, **make: Callable[[], Any]) -> Any:
    """The results of a forward op. ``make`` has a function for each result, under its name."""
    made = tuple(make[name]() for name in GIVES[op])
    return made if len(made) > 1 else made[0]


def wanted_gradients(c: Call, **make: Callable[[], Any]) -> list[Tensor]:
    """The result of a backward op: the gradients that ``needs`` asks for, each made by its function."""
    found: list[Tensor] = []
    for name, need in zip(differentiable(c.op), c.needs, strict=True):
        if need:
            made = make[name]()
            found += made if name == "branches" else [made]
    return found


def layout_of(t: Tensor) -> torch.memory_format:
    """The layout of an op's outputs: channels_last if the tensor is channels_last, else contiguous."""
    return torch._prims_common.suggest_memory_format(t)


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which statistics and sums of activations of ``dtype`` are computed."""
    return torch.float64 if dtype == torch.float64 else torch.float32
