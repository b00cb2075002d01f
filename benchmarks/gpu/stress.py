"""Repeats calls with full grids and checks that each gives the same bits, while another stream copies.

This can show faults that depend on the order in which a GPU runs its blocks: a barrier that lets a block pass too
early, a slice that is read before it is complete, and scratch memory that two calls share.
"""

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import LAYOUTS, OpCase, make_inputs, op_function
from benchmarks.gpu import device
from benchmarks.ideal import Size
from benchmarks.peers import PEERS, VARIANTS
from benchmarks.race import Competitor
from softgate_ext.errors import InputError

REPEATS = 500
# The last shape is so small that every variant serves it in both layouts, forward and backward.
SHAPES: tuple[tuple[Size, tuple[int, ...]], ...] = (
    ((32, 256, 64, 64), (128, 64, 64)),
    ((8, 144, 64, 64), (72, 36, 36)),
    ((8, 144, 32, 32), (72, 36, 36)),
)
OPS = ("gated_residual_bn_relu", "skip_merge_bn_relu")
COPY_BYTES = 256 << 20


def main(
    on: str = "cuda",
    shapes: Iterable[tuple[Size, tuple[int, ...]]] = SHAPES,
    repeats: int = REPEATS,
) -> None:
    names = (*VARIANTS, "triton") if on == "cuda" else ("fused",)
    dtype = "bfloat16" if on == "cuda" else "float32"
    wrong = 0
    with CopyBeside(on) as copy:
        for (size, split), op, layout, name in product(shapes, OPS, LAYOUTS, names):
            case = OpCase(op, "both", layout, dtype, size, split, device=on)
            peer = PEERS[name]
            forced = Competitor(name, int, backend=peer.backend, variant=peer.variant)
            facts = {"op": op, "size": list(size), "layout": layout, "variant": name}
            try:
                with forced.in_force():
                    different = repeat(step(case), repeats, copy)
            except InputError as refusal:
                device.emit(**facts, refused=str(refusal))
                continue
            wrong += different > 0
            device.emit(**facts, repeats=repeats, different=different)
    print(f"{wrong} of the variants gave other bits" if wrong else "the same bits every time")
    raise SystemExit(1 if wrong else 0)


def step(case: OpCase) -> Callable[[], tuple[Tensor, ...]]:
    """Returns a function that runs forward and backward and returns all results."""
    inputs, function = make_inputs(case), op_function(case)

    def run() -> tuple[Tensor, ...]:
        outputs = function(*inputs.arguments)
        return *outputs, *torch.autograd.grad(outputs, inputs.leaves, inputs.gradients)

    return run


def repeat(run: Callable[[], tuple[Tensor, ...]], repeats: int, copy: Callable[[], Any]) -> int:
    """How many repeats gave other bits than the first. The device counts, so the host never waits."""
    first = [bits(t) for t in run()]
    different = torch.zeros((), dtype=torch.int64, device=first[0].device)
    for _ in range(repeats):
        copy()
        again = run()
        same = [(bits(t) == f).all() for t, f in zip(again, first, strict=True)]
        different += ~torch.stack(same).all()
    return int(different)


def bits(t: Tensor) -> Tensor:
    """The values as integers of the same bits, so that NaN equals itself."""
    return t.detach().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()])


class CopyBeside:
    """A context whose copy runs on another stream, where it takes resources from the kernels."""

    def __init__(self, on: str):
        self.on = on

    def __enter__(self) -> Callable[[], None]:
        if self.on == "cpu":
            return lambda: None
        self.stream = torch.cuda.Stream()
        source, target = (torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda") for _ in "ab")

        def copy() -> None:
            with torch.cuda.stream(self.stream):
                target.copy_(source)

        return copy

    def __exit__(self, *_: object) -> None:
        if self.on != "cpu":
            self.stream.synchronize()


if __name__ == "__main__":
    device.require()
    main()
