"""Measures the memory and time of a training step: `python -m benchmarks.step_memory`.

It compares eager PyTorch (`use_backend("reference")`), eager compiled, the fused ops without and with
Winograd's convolution, and both of these within `recompute`. Each runs in its own process. The memory is the growth
of the peak of the process during the steps. It is left out for `compile`, where the compiler needs more memory.
"""

import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Literal

import torch

from benchmarks import options
from benchmarks.machine import describe_machine
from softgate_ext import recompute, use_backend
from softgate_ext.models import create_model

WAYS = ("eager", "compile", "fused", "winograd", "recompute", "winograd-recompute")
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


def measure(
    way: str, model: str, batch: int, size: int, dtype: str, threads: int, steps: int
) -> dict[str, float]:
    """The growth of the peak memory of this process in GB ("gb"), and the shortest step ("ms")."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    conv = "winograd" if way.startswith("winograd") else "direct"
    network = create_model(model, conv=conv).train().to(memory_format=torch.channels_last)
    if way == "compile":
        network.compile(dynamic=False)
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    half = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    before, times = _peak(), []
    for _ in range(steps):
        start = time.perf_counter()
        with use_backend("reference") if way in ("eager", "compile") else nullcontext():
            with recompute(way.endswith("recompute")), half:
                loss = sum(heatmaps.float().square().mean() for heatmaps in network(images))
            loss.backward()
        network.zero_grad()
        times.append(time.perf_counter() - start)
    gigabytes = {} if way == "compile" else {"gb": round((_peak() - before) / 1e9, 3)}
    return {**gigabytes, "ms": round(min(times) * 1e3)}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT


def main(
    model: str = "hybrid_4x144",
    batch: int = 4,
    size: int = 256,
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16"),
    threads: int = 2,
    steps: int = 5,
    way: str = "",
) -> None:
    """Prints a JSON line for each dtype and way, with its share of eager's memory and time.

    Args:
        model: a name that `softgate info` lists.
        batch: images in a batch.
        size: side of an image in pixels.
        dtypes: dtypes of the convolutions. bfloat16 is by autocast.
        threads: threads of PyTorch.
        steps: how many forward and backward passes are run.
        way: one of eager, compile, fused, winograd, recompute and winograd-recompute, which is then
            measured in this process. Empty measures all, each in a process of its own.
    """
    if way:
        (dtype,) = dtypes
        print(json.dumps(measure(way, model, batch, size, dtype, threads, steps)))
        return
    print(json.dumps(describe_machine() | {"model": model, "batch": batch, "size": size}))
    for dtype in dtypes:
        numbers = {"batch": batch, "size": size, "threads": threads, "steps": steps}
        words = ["--model", model, "--dtypes", dtype]
        words += [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
        found = {}
        for name in WAYS:
            command = [sys.executable, "-m", "benchmarks.step_memory", *words, "--way", name]
            found[name] = json.loads(subprocess.check_output(command, text=True))
            share = {
                key: round(value / found["eager"][key], 2) for key, value in found[name].items()
            }
            line = {"dtype": dtype, "way": name, **found[name], "of_eager": share}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    options.run(main)
