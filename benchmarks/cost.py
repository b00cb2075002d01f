"""Shows which kinds of calls take a network's time on the CPU: `python -m benchmarks.cost`.

It measures a pass of the recorded inference plan and a training step. The time of a call does not
include the calls that it makes, so that the times of all kinds add up to the whole.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks import options
from softgate_ext import InputError, recompute
from softgate_ext.inference.fold import fold
from softgate_ext.inference.plan import ForwardPlan
from softgate_ext.models import create_model

KINDS: dict[str, tuple[str, ...]] = {
    "3x3 by Winograd": ("winograd", "conv3x3"),
    "other convolutions": ("conv", "addmm"),
    "fused ops": ("softgate", "gated_residual", "bn_relu", "skip_merge"),
    "fresh memory": ("empty", "zero", "resize", "fill_"),
    "copies": ("copy_", "clone", "contiguous", "_to_copy"),
}
REST = "the rest"


def kind_of(name: str) -> str:
    """The first of `KINDS` one of whose words occurs in `name`, or `REST`."""
    return next((k for k, words in KINDS.items() if any(w in name for w in words)), REST)


def of_plan(
    plan: ForwardPlan, images: Tensor, rounds: int
) -> tuple[float, list[tuple[str, float, int]]]:
    """Measures a pass of an inference plan, and each of its calls alone.

    Returns:
        The median seconds of a pass, and for each call its name, its median seconds, and the bytes
        of the tensors among its arguments.
    """
    times: list[list[float]] = [[] for _ in plan.steps]
    passes, calls = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        plan(images)
        passes.append(time.perf_counter() - start)
        for step, own in zip(plan.steps, times, strict=True):
            start = time.perf_counter()
            step()
            own.append(time.perf_counter() - start)
    for step, own in zip(plan.steps, times, strict=True):
        name = getattr(step.func, "__name__", str(step.func))
        tensors = [t for t in tree_leaves((step.args, step.keywords)) if isinstance(t, Tensor)]
        size = sum(t.numel() * t.element_size() for t in tensors)
        calls.append((name, statistics.median(own), size))
    return statistics.median(passes), calls


def of_step(step: Callable[[], None], rounds: int) -> Iterator[tuple[str, float, int]]:
    """Yields the name and the mean seconds of each call of a training step. Its bytes are 0."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(rounds):
            step()
    for event in profile.key_averages():
        for _ in range(max(1, round(event.count / rounds))):
            yield event.key, event.self_cpu_time_total / event.count / 1e6, 0


def print_table(calls: Iterable[tuple[str, float, int]], whole: float) -> None:
    """Prints one line for each kind of call, and one for the time between the calls."""
    found: Mapping[str, list[Any]] = defaultdict(lambda: [0, 0.0, 0])
    for name, seconds, size in calls:
        row = found[kind_of(name)]
        row[0], row[1], row[2] = row[0] + 1, row[1] + seconds, row[2] + size
    print(f"{'':22}{'calls':>7}{'ms':>9}{'share':>8}{'GB/s':>8}")
    for kind in (*KINDS, REST):
        count, seconds, size = found[kind]
        if count:
            rate = f"{size / seconds / 1e9:8.1f}" if size else ""
            print(f"{kind:22}{count:7}{1e3 * seconds:9.2f}{seconds / whole:8.0%}{rate}")
    between = whole - sum(row[1] for row in found.values())
    print(f"{'between calls':22}{'':7}{1e3 * between:9.2f}{between / whole:8.0%}")
    print(f"{'whole':22}{'':7}{1e3 * whole:9.2f}\n", flush=True)


def timed(run: Callable[[], Any], rounds: int) -> float:
    """The median seconds of a call of `run`. A first call is not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main(
    model: str = "hybrid_4x144",
    batch: int = 1,
    size: int = 256,
    threads: int = 2,
    rounds: int = 20,
    what: tuple[Literal["inference", "training"], ...] = ("inference", "training"),
    bf16: bool = False,
    keep: bool = True,
) -> None:
    """Prints a table of inference and one of a training step.

    Args:
        model: a name that `softgate info` lists.
        batch: images in a batch. Training needs two or more where a feature map has one pixel.
        size: side of an image in pixels.
        threads: threads of PyTorch.
        rounds: how many passes are measured.
        what: which tables are printed.
        bf16: run inference in bfloat16, and training under autocast to bfloat16.
        keep: training keeps its activations for the backward pass. Otherwise it computes some of
            them again.

    Raises:
        InputError: with this `batch` and `size` a batch norm gets only one value per channel.
    """
    if "training" in what and batch == 1 and size == create_model(model).step:
        raise InputError(
            f"batch must be 2 or more to train {model} on {size} x {size}, whose smallest maps have "
            "one pixel, got 1"
        )
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    if "inference" in what:
        stored = torch.bfloat16 if bf16 else torch.float32
        network = fold(create_model(model).eval(), stored, conv="winograd")
        with torch.no_grad():
            network(images)
            plan = ForwardPlan(network.network, images)
            whole, calls = of_plan(plan, images, rounds)
            print(f"inference of {model}, {batch} x {size} x {size}, {threads} threads")
            print_table(calls, whole)
    if "training" in what:
        network = create_model(model).train().to(memory_format=torch.channels_last)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16), recompute(not keep):
                loss = sum(heatmaps.float().square().mean() for heatmaps in network(images))
            loss.backward()
            network.zero_grad()

        count = max(rounds // 5, 2)
        whole = timed(step, count)
        print(f"training of {model}, {batch} x {size} x {size}, {threads} threads")
        print_table(of_step(step, count), whole)


if __name__ == "__main__":
    options.run(main)
