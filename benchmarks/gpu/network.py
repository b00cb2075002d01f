"""Measures a whole network on a GPU: ``network training``, ``network inference``, ``network memory``.

It compares the fused ops and eager PyTorch, each without and with CUDA graphs, and torch.compile in its default
mode and with max-autotune, which takes longest and comes last.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu import device
from benchmarks.gpu.graphs import Replay
from softgate_ext import recompute, use_backend
from softgate_ext.models import create_model

MODEL, SIDE, BATCH = "hybrid_1x144", 256, 8
MEMORY_MODEL = "hybrid_4x144"
# By name: backend, mode of torch.compile, and whether the call is captured in a CUDA graph.
WAYS = {
    "fused, graph": ("auto", None, True),
    "fused": ("auto", None, False),
    "triton, graph": ("triton", None, True),
    "eager, graph": ("reference", None, True),
    "eager": ("reference", None, False),
    "compile": ("reference", "default", False),
    "max-autotune": ("reference", "max-autotune", False),
}


def main(
    kind: str, on: str = "cuda", model: str = MODEL, side: int = SIDE, batch: int = BATCH
) -> None:
    if kind == "memory":
        for name in ("eager", "fused", "recompute"):
            device.emit(way=name, peak_gb=round(peak(name, MEMORY_MODEL, on, side, batch) / 1e9, 3))
        return
    training = kind == "training"
    for name in WAYS if on == "cuda" else ("fused", "eager"):
        backend, mode, graph = WAYS[name]
        try:
            with use_backend(backend):
                network = make(model, training, on)
                forward = network if mode is None else torch.compile(network, mode=mode)
                call = step(network, forward, images(batch if training else 1, side, on), training)
                ready = ready_after(call, on)
                seconds = (
                    Replay(lambda call=call: [call], on).seconds() if graph else timed(call, on)
                )
        except (RuntimeError, ValueError) as error:
            device.emit(kind=kind, way=name, error=str(error).splitlines()[0])
            continue
        device.emit(kind=kind, way=name, ms=round(seconds * 1e3, 3), ready_s=round(ready, 1))


def make(model: str, training: bool, on: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = create_model(model).train(training).requires_grad_(training)
    return network.to(on, memory_format=torch.channels_last)  # type: ignore[call-overload]


def images(batch: int, side: int, on: str) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, device=on).contiguous(memory_format=torch.channels_last)


def step(
    network: torch.nn.Module, forward: Callable[..., Any], x: torch.Tensor, training: bool
) -> Callable[[], Any]:
    """A forward pass under autocast to bfloat16. In training, it also computes all gradients."""
    parameters = list(network.parameters())

    def run() -> Any:
        # Otherwise a graph could read casts that were cached outside of it.
        half = torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False)
        with half, torch.set_grad_enabled(training):
            heatmaps = forward(x)
        if not training:
            return heatmaps
        loss = sum(h.float().square().mean() for h in heatmaps)
        return torch.autograd.grad(loss, parameters)

    return run


def timed(call: Callable[[], Any], on: str, calls: int = 20) -> float:
    """The seconds of a call as a program sees them, with its launches."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    wait(on)
    return (time.perf_counter() - start) / calls


def ready_after(call: Callable[[], Any], on: str, calls: int = 3) -> float:
    """The seconds of the first calls, in which compilers compile."""
    return timed(call, on, calls) * calls


def wait(on: str) -> None:
    if on == "cuda":
        torch.cuda.synchronize()


def peak(name: str, model: str, on: str, side: int, batch: int) -> int:
    """The peak bytes of a training step beyond the memory of the network and its images."""
    with use_backend("reference" if name == "eager" else "auto"), recompute(name == "recompute"):
        network = make(model, True, on)
        call = step(network, network, images(batch, side, on), True)
        call()
        wait(on)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        wait(on)
        return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    device.require()
    main(sys.argv[1])
