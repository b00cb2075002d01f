"""The calls of the five ops that are measured: their list, their inputs and the functions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.ideal import PHASES, Size, ideal_elements
from softgate_ext import ops

OPS = (
    "gated_residual",
    "gated_residual_bn_relu",
    "bn_relu",
    "skip_merge",
    "skip_merge_bn_relu",
)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MAIN, SPLIT = (8, 144, 64, 64), (72, 36, 36)


@dataclass(frozen=True)
class OpCase:
    """One op in one phase. The low input of a merge has as many channels as the skip."""

    op: str
    phase: str
    layout: str = "contiguous"
    dtype: str = "float32"
    size: Size = MAIN
    split: tuple[int, ...] = SPLIT
    mode: str = "concat"
    device: str = "cpu"

    @property
    def training(self) -> bool:
        return self.phase != "inference"

    @property
    def ideal_bytes(self) -> int:
        count = ideal_elements(self.op, self.phase, self.size, self.size[1], self.mode)
        return count * getattr(torch, self.dtype).itemsize

    def __str__(self) -> str:
        variant = "+".join(map(str, self.split)) if self.op.startswith("gated") else ""
        variant = self.mode if self.op.startswith("skip") else variant
        size = "x".join(map(str, self.size))
        parts = (self.op, self.phase, size, variant, self.layout, self.dtype, self.device)
        return "-".join(p for p in parts if p)


def op_cases(device: str, quick: bool) -> Iterator[OpCase]:
    """All phases, layouts and dtypes at the main size, and a few cases of other sizes and modes."""
    kinds = list(product(LAYOUTS, ("float32", "bfloat16")))
    size, split = ((2, 16, 8, 8), (8, 4, 4)) if quick else (MAIN, SPLIT)
    for (layout, dtype), op, phase in product(kinds[::3] if quick else kinds, OPS, PHASES):
        yield OpCase(op, phase, layout, dtype, size, split, device=device)
    if quick:
        return
    if device == "cuda":
        yield from wide_cases(kinds)
    for phase in ("inference", "both"):
        for op in ("gated_residual", "gated_residual_bn_relu"):
            yield OpCase(op, phase, split=(144,), device=device)
        yield OpCase("skip_merge_bn_relu", phase, mode="add", device=device)
        for op in ("gated_residual_bn_relu", "skip_merge_bn_relu"):
            if device == "cpu":
                yield OpCase(op, phase, size=(4, 256, 64, 64), split=(128, 64, 64))
            yield OpCase(op, phase, size=(8, 144, 8, 8), device=device)


def wide_cases(kinds: Iterable[tuple[str, str]]) -> Iterator[OpCase]:
    """Tensors larger than the cache of any GPU. The goals of the kernels are stated for these."""
    size, split = (32, 256, 64, 64), (128, 64, 64)
    for layout, dtype in kinds:
        for phase in ("forward", "inference", "backward"):
            for op in ("gated_residual_bn_relu", "skip_merge_bn_relu"):
                yield OpCase(op, phase, layout, dtype, size, split, device="cuda")


@dataclass(frozen=True)
class OpInputs:
    """The arguments of the function from :func:`op_function`, and gradients of its results.

    `leaves` are the tensors of which gradients are computed.
    """

    arguments: tuple[Any, ...]
    leaves: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def make_inputs(case: OpCase, seed: int = 0) -> OpInputs:
    """Random inputs. The per-channel vectors are float32, as they are under autocast."""
    gen = torch.Generator(case.device).manual_seed(seed)
    layout, dtype = LAYOUTS[case.layout], getattr(torch, case.dtype)
    n, c, h, w = case.size
    merge, residual = case.op.startswith("skip"), case.op.startswith("gated")
    total = 2 * c if merge and case.mode == "concat" else c

    def activation(channels: int, height: int = h, width: int = w) -> Tensor:
        t = torch.randn(n, channels, height, width, generator=gen, device=case.device)
        return t.to(dtype).contiguous(memory_format=layout)

    def vector(size: int, low: float, high: float) -> Tensor:
        return torch.rand(size, generator=gen, device=case.device) * (high - low) + low

    x = activation(c)
    branches = [activation(k) for k in case.split] if residual else []
    low = [activation(c, h // 2, w // 2)] if merge else []
    alpha = [vector(c, 0.2, 1.2)] if merge or residual else []
    running, affine = [], []
    if case.op.endswith("bn_relu"):
        running = [vector(total, -0.2, 0.2), vector(total, 0.5, 2.0)]
        affine = [vector(total, 0.5, 1.5), vector(total, -0.5, 0.5)]
    leaves = (x, *branches, *low, *alpha, *affine)
    for leaf in leaves:
        leaf.requires_grad_(case.training)
    outputs = 2 if case.op.endswith("bn_relu") and (merge or residual) else 1
    gradients = tuple(activation(total) for _ in range(outputs if case.training else 0))
    sources = [x, branches] if residual else [x, *low]
    return OpInputs((*sources, *alpha, *running, *affine), leaves, gradients)


def op_function(case: OpCase) -> Callable[..., Any]:
    """The public op as a function of the arguments of :class:`OpInputs`."""
    options: dict[str, Any] = {}
    if case.op.endswith("bn_relu"):
        options["training"] = case.training
    if case.op.startswith("skip"):
        options["mode"] = case.mode
    op = getattr(ops, case.op)

    def function(*arguments: Any) -> Any:
        return op(*arguments, **options)

    return function
