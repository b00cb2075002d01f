"""Registers the Triton kernels with the ops of ``softgate_triton``. The first call imports Triton.

A plain ``torch.library`` implementation is the shortest way from the dispatcher to a launch;
``torch.library.triton_op`` would add a Python custom op in front of it. Two of its registrations are
useful and are made here. While a graph is traced, an op is replaced by its launches, so that the
compiler can schedule around them. And the sources of the kernels are part of the key of a cached
graph.

If the extension has no CUDA kernels, the ops of ``softgate`` get the Triton kernels on a GPU too.
Graphs that were exported with those ops need this.
"""

import importlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensorMode

import softgate_ext
from softgate_ext.ops import backend, fallback
from softgate_ext.ops.schema import SCHEMAS, TRITON_NAMESPACE, library, triton_library

# In a source checkout the folder of the kernels is beside the package, not in it.
_root = Path(__file__).resolve().parents[2]
if (_root / "triton_kernels" / "residual.py").is_file():
    softgate_ext.__path__.append(str(_root))


def _kernels() -> Any:
    return importlib.import_module("softgate_ext.triton_kernels")


class Implementation:
    """The Triton implementation of one op. Its first call imports the kernels, and Triton."""

    def __init__(self, name: str):
        self.name = name

    @cached_property
    def prepared(self) -> tuple[Callable, Callable]:
        return _kernels().prepared(self.name, getattr(fallback.kernels, self.name))

    def __call__(self, *args: Any) -> Any:
        return self.prepared[0](*args)

    def find(self, args: tuple) -> Any:
        """A recorded tape of launches for these arguments and the tensors among them, or None."""
        return self.prepared[1](args)


def _dissolve(name: str, implementation: Callable) -> Callable:
    def rule(mode: Any, op: Any, types: Any, args: tuple, kwargs: dict | None = None) -> Any:
        if backend.interpreting() or torch.compiler.is_exporting():
            return mode.__torch_dispatch__(op, types, args, kwargs)
        with mode, _kernels().tracing():
            return implementation(*args, **(kwargs or {}))

    return rule


class _Sources:
    """All kernels, listed when the key of a cached graph is made and not earlier."""

    def __iter__(self) -> Iterator[Any]:
        return iter(_kernels().KERNELS)


_keys = getattr(torch._library.triton, "triton_ops_to_kernels", {})
IMPLEMENTATIONS = {name: Implementation(name) for name in SCHEMAS}
for _name, _call in IMPLEMENTATIONS.items():
    triton_library.impl(_name, _call, "CompositeExplicitAutograd")
    _op = f"{TRITON_NAMESPACE}::{_name}"
    torch.library.register_torch_dispatch(
        _op, FunctionalTensorMode, _dissolve(_name, _call), lib=triton_library
    )
    _keys[_op] = _Sources()
    if backend.falls_to_triton():
        for _device in ("CUDA", "XPU"):
            library.impl(_name, _call, _device)
