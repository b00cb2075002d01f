"""Varies the numbers of the device that the plan of the kernels uses, one at a time and without a rebuild.

The launchers take these numbers as an argument. `processors` determines the number of blocks of a pass, `l2_bytes`
the number of slices of a tensor, and `cooperative` and `cluster` the number of blocks that wait for each other.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu import device
from benchmarks.gpu.runner import ROOT

sys.path.insert(0, str(ROOT / "tests" / "emulator"))

# Every variant serves this shape in both layouts, forward and backward.
CHANNELS, SIZE = (72, 36, 36), (8, 32, 32)
REPEATS = 30


def sweeps(here) -> Iterator[tuple[str, str, int]]:
    """Yields a variant, a field and its value. `here` has the numbers of this device."""
    for share in (0.25, 0.5, 1, 2, 4):
        yield "sliced", "l2_bytes", int(here.l2_bytes * share)
    for share in (0.25, 0.5, 0.75, 1):
        yield "two_pass", "processors", max(int(here.processors * share), 1)
    for blocks in range(1, here.cooperative + 1):
        yield "sliced", "cooperative", blocks
    for blocks in (1, 2, 4, 8):
        if blocks <= here.cluster:
            yield "resident", "cluster", blocks


def main(
    library: Path | None = None,
    channels: tuple[int, ...] = CHANNELS,
    size: tuple[int, int, int] = SIZE,
    repeats: int = REPEATS,
) -> None:
    """Measures forward and backward of a gated residual, in both layouts and bfloat16.

    Args:
        library: the compiled library of on_device.cu. None builds it.
        channels: channels of each branch.
        size: N, H and W.
        repeats: how often each call is repeated.
    """
    import emulator_build
    import torch
    from emulator_calls import EmulatorError, Machine, device_of
    from emulator_ops import LAYOUTS, Case, Tensors

    library = library or emulator_build.build_on_device()
    here = device_of(library)
    for layout in LAYOUTS:
        case = Case("residual", channels, size, layout=layout, dtype=torch.bfloat16)
        tensors = Tensors(case, library)
        dy, dz = tensors.gradients()
        for variant, name, value in sweeps(here):
            numbers = type(here).from_buffer_copy(here)
            setattr(numbers, name, value)
            machine = Machine(variant, numbers, repeats=repeats)
            facts = {"layout": layout, "variant": variant, name: value}
            try:
                forward = tensors.forward(machine)
                y, mean, var = (forward.values[k] for k in ("y", "mean", "var"))
                backward = tensors.backward(machine, y, mean, var, dy, dz)
            except EmulatorError as refusal:
                device.emit(**facts, refused=str(refusal))
                continue
            device.emit(
                **facts,
                forward_us=round(forward.microseconds, 2),
                backward_us=round(backward.microseconds, 2),
            )


if __name__ == "__main__":
    device.require()
    main()
