"""Measures every variant of the kernels, Triton's kernels, and eager and compiled PyTorch.

Each case has one of two shapes and one of two layouts. Each call runs in a CUDA graph, on more input
sets than L2 can hold, and is compared with a copy of the fewest bytes that it must move. The time of
each kernel is also measured. Compiled code comes last, since compiling takes longest.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import torch

from benchmarks.cases import LAYOUTS, OpCase, make_inputs, op_function
from benchmarks.gpu import device
from benchmarks.gpu.graphs import Replay
from benchmarks.ideal import Size
from benchmarks.memory import input_sets
from benchmarks.peers import VARIANTS, copy_of, peers
from benchmarks.race import FUSED, Competitor
from softgate_ext.errors import InputError

# The first is larger than any L2. The second is a level of the network with its channels.
SHAPES: tuple[tuple[Size, tuple[int, ...]], ...] = (
    ((32, 256, 64, 64), (128, 64, 64)),
    ((8, 144, 64, 64), (72, 36, 36)),
)
OPS = ("gated_residual_bn_relu", "skip_merge_bn_relu")
PHASES = ("forward", "backward", "inference")
ALWAYS = (FUSED, *VARIANTS, "triton", "eager")
# Goals of gated_residual_bn_relu: the time of a copy of the fewest bytes divided by its time.
GOALS = {"forward": 0.90, "backward": 0.85}


def main(on: str = "cuda", shapes: Iterable[tuple[Size, tuple[int, ...]]] = SHAPES) -> None:
    cases = [
        OpCase(op, phase, layout, "bfloat16" if on == "cuda" else "float32", size, split, device=on)
        for (size, split), op, layout, phase in product(shapes, OPS, LAYOUTS, PHASES)
    ]
    for names in (ALWAYS, ("compile",)) if on == "cuda" else ((FUSED, "eager"),):
        for case in cases:
            for result in measure(case, names):
                device.emit(**result)


def measure(case: OpCase, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields one result for each competitor that serves the case."""
    sets = input_sets(case.ideal_bytes, case.device)
    inputs = [make_inputs(case, seed) for seed in range(sets)]
    copy = captured(copy_of(case.ideal_bytes, case.device, sets), case, sets).seconds()
    facts = {k: getattr(case, k) for k in ("op", "phase", "layout", "dtype")}
    facts |= {"size": "x".join(map(str, case.size)), "copy_us": round(copy * 1e6, 2)}
    for competitor in peers(list(names), op_function(case), case.phase, inputs):
        try:
            with competitor.in_force():
                replay = captured(competitor, case, sets)
                seconds = replay.seconds()
                kernels = replay.kernels()
        except (InputError, RuntimeError) as error:
            yield {**facts, "peer": competitor.name, "error": str(error).splitlines()[0]}
            continue
        share = copy / seconds
        goal = GOALS.get(case.phase) if case.op == "gated_residual_bn_relu" else None
        yield {
            **facts,
            "peer": competitor.name,
            "us": round(seconds * 1e6, 2),
            "share": round(share, 3),
            "goal": goal if competitor.name == FUSED else None,
            "kernels": kernels,
        }


def captured(competitor: Competitor, case: OpCase, sets: int) -> Replay:
    """Captures one call on each input set. A backward keeps its graph, since it is replayed."""

    def run(state: Any) -> Any:
        if case.phase == "backward" and competitor.name != "copy":
            inputs, outputs = state
            return torch.autograd.grad(outputs, inputs.leaves, inputs.gradients, retain_graph=True)
        return competitor.run(state)

    def calls() -> list[Callable[[], Any]]:
        return [partial(run, competitor.prepare(i)) for i in range(sets)]

    return Replay(calls, case.device)


if __name__ == "__main__":
    device.require()
    main()
