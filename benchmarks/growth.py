"""Measures how the time of an op grows with its size on the CPU: `python -m benchmarks.growth`.

One number of the shape is varied at a time. Then `time = call + bytes / rate` is fitted over all sizes, by least
squares of the relative errors. `call` is the fixed cost of a call, and `bytes` are those that it reads and writes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

from benchmarks import options
from softgate_ext import gated_residual_bn_relu

SIZES: dict[str, tuple[int, ...]] = {
    "images": (1, 2, 4, 8, 16),
    "channels": (36, 72, 144, 288, 576),
    "side": (4, 8, 16, 32, 64, 128),
    "branches": (1, 2, 3, 4),
}
BASE = {"images": 1, "channels": 144, "side": 32, "branches": 1}
CACHED = 8 << 20  # calls that move up to this many bytes are fitted apart, as calls in the cache


def call_of(
    images: int, channels: int, side: int, branches: int, phase: str, layout: torch.memory_format
) -> tuple[Callable[[], object], int]:
    """Returns a call of `gated_residual_bn_relu`, and the bytes of activations that it moves."""
    x = torch.randn(images, channels, side, side).to(memory_format=layout)
    parts = [part.to(memory_format=layout) for part in torch.randn_like(x).chunk(branches, 1)]
    alpha, mean, var = torch.rand(channels), torch.zeros(channels), torch.ones(channels)
    size = x.numel() * x.element_size()
    if phase == "inference":
        return lambda: gated_residual_bn_relu(x, parts, alpha, mean, var), 4 * size
    leaves = [t.requires_grad_() for t in (x, *parts, alpha)]
    gradient = torch.randn_like(x)

    def step() -> tuple[Tensor, ...]:
        y, z = gated_residual_bn_relu(x, parts, alpha, mean, var, training=True)
        return torch.autograd.grad((y, z), leaves, (gradient, gradient))

    # Forward: it reads x and f, writes y and z, and reads y again.
    # Backward: it reads y, x, dy and dz, and writes dx and df.
    return step, 11 * size


def timed(run: Callable[[], object], seconds: float) -> float:
    """The median seconds of a call, over nine rounds that last about `seconds` in all."""
    start = time.perf_counter()
    run()
    run()
    count = max(1, int(seconds / 10 / max(time.perf_counter() - start, 1e-6)))
    rounds = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(count):
            run()
        rounds.append((time.perf_counter() - start) / count)
    return statistics.median(rounds)


def fitted(
    times: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fits `times` (seconds) by `sizes` (bytes).

    Returns:
        The seconds that a call costs, the bytes per second, and the median relative error.
    """
    terms = np.stack([np.ones_like(sizes), sizes], 1) / times[:, None]
    (call, per_byte), _ = nnls(terms, np.ones_like(times))
    error = np.median(abs(terms @ [call, per_byte] - 1))
    return float(call), float(np.divide(1, per_byte)), float(error)


def rows(
    phase: str, layout: torch.memory_format, seconds: float
) -> Iterator[tuple[str, int, float, int]]:
    """Yields what is varied, its value, the seconds of a call, and the bytes that it moves."""
    for name, values in SIZES.items():
        for value in values:
            run, size = call_of(**{**BASE, name: value}, phase=phase, layout=layout)
            yield name, value, timed(run, seconds), size


def main(
    threads: int = 2,
    seconds: float = 0.1,
    phases: tuple[Literal["inference", "training"], ...] = ("inference", "training"),
) -> None:
    """Prints the times in microseconds, and the fit, for both memory layouts.

    Args:
        threads: threads of PyTorch.
        seconds: about how long each size is measured.
        phases: "inference" is the forward pass alone, "training" is forward and backward.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print(f"gated_residual_bn_relu, float32, {threads} threads; else {BASE}")
    for phase in phases:
        for name, layout in (
            ("contiguous", torch.contiguous_format),
            ("channels_last", torch.channels_last),
        ):
            found = list(rows(phase, layout, seconds))
            print(f"\n{phase}, {name}")
            for factor in SIZES:
                told = "  ".join(f"{v}: {1e6 * t:.0f}" for key, v, t, _ in found if key == factor)
                print(f"  us by {factor:9} {told}")
            times, sizes = (np.array([row[i] for row in found], float) for i in (2, 3))
            for title, some in (("in the cache", sizes <= CACHED), ("beyond it", sizes > CACHED)):
                call, rate, error = fitted(times[some], sizes[some])
                print(
                    f"  {title:13} {1e6 * call:6.1f} us a call + bytes / {rate / 1e9:.1f} GB/s, "
                    f"within {error:.0%} at half of the sizes"
                )


if __name__ == "__main__":
    options.run(main)
