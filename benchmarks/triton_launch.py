"""Measures the CPU time of a call of a Triton op, and of a bare launch of the same kernels.

    python -m benchmarks.triton_launch

This time limits the small tensors of deep levels. On a GPU the launches are real, with tensors so
small that the GPU keeps up. Elsewhere a stand-in for Triton's driver does nothing, so that the time
of the driver is missing on both sides.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from softgate_ext import ops
from softgate_ext.ops import backend
from softgate_ext.ops.eager import eager_ops
from softgate_ext.ops.triton import IMPLEMENTATIONS

ROUNDS, CALLS = 15, 200
CHAIN = 8  # blocks of one network


class NoDriver:
    """A stand-in for Triton's driver. It lets Triton compile for sm_90 and launches nothing."""

    class utils:
        @staticmethod
        def get_device_properties(device: int) -> dict[str, int]:
            return {"max_shared_mem": 1 << 20}

        @staticmethod
        def load_binary(*_: Any) -> tuple[int, int, int, int, int]:
            return 0, 0, 0, 0, 1024

        @staticmethod
        def unload_module(module: int) -> None:
            pass

    @staticmethod
    def launcher_cls(source: Any, metadata: Any) -> Callable[..., None]:
        return lambda *args: None

    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))


def launches_of(call: Callable[[], Any]) -> list[tuple[JITFunction, Any, tuple, dict]]:
    """The kernel launches of a first call: kernel, grid, arguments and options of each."""
    for implementation in IMPLEMENTATIONS.values():
        implementation.prepared[0].tapes.clear()
    seen = []
    run = JITFunction.run

    def note(self: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        seen.append((self, grid, args, options))
        return run(self, *args, grid=grid, warmup=warmup, **options)

    JITFunction.run = note
    try:
        call()
    finally:
        JITFunction.run = run
    return seen


def microseconds(*calls: Callable[[], Any]) -> list[float]:
    """The CPU microseconds of each call: the medians over rounds in which the calls take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for call, found in zip(calls, times, strict=True):
            start = time.process_time()
            for _ in range(CALLS):
                call()
            found.append((time.process_time() - start) / CALLS * 1e6)
    return [statistics.median(t) for t in times]


def calls(device: str) -> dict[str, tuple[Callable[[], Any], bool, int]]:
    """By name: a function to measure, whether gradients are on, and the number of ops in it."""
    c = 64
    sizes = ((c, 8), (c // 2, 8), (c // 2, 8), (c, 4))
    x, *branches, low = (torch.randn(2, k, s, s, device=device) for k, s in sizes)
    alpha, mean, var, weight, bias = (torch.rand(c, device=device) for _ in range(5))
    running, affine = (mean, var), (weight, bias)
    leaves = [t.clone().requires_grad_() for t in (x, *branches, alpha, *affine)]
    lx, *lb, la, lw, lbias = leaves
    y, dy, dz = (torch.randn_like(x) for _ in range(3))

    def train() -> Any:
        return ops.gated_residual_bn_relu(lx, lb, la, None, None, lw, lbias, training=True)

    def backward() -> Any:
        return eager_ops.gated_residual_bn_relu_backward(
            dy, dz, y, x, alpha, *running, *affine, True, 1e-5, True, [c // 2, c // 2], [True] * 5
        )

    def step() -> None:
        torch.autograd.grad(train(), leaves, (dy, dz))

    rows = [[t.clone().requires_grad_() for t in (alpha, *affine)] for _ in range(CHAIN)]
    ends = [lx, x.clone().requires_grad_(), *(t for row in rows for t in row)]

    def chain() -> None:
        y, z = ends[:2]
        for gate, *norm in rows:
            y, z = ops.gated_residual_bn_relu(y, [z], gate, None, None, *norm, training=True)
        torch.autograd.grad((y, z), ends, (dy, dz))

    block = "gated_residual_bn_relu"
    return {
        "gated_residual": (lambda: ops.gated_residual(x, branches, alpha), False, 1),
        "skip_merge": (lambda: ops.skip_merge(x, low, alpha, mode="add"), False, 1),
        "bn_relu, inference": (lambda: ops.bn_relu(x, *running, *affine), False, 1),
        f"{block}, inference": (
            lambda: ops.gated_residual_bn_relu(x, branches, alpha, *running, *affine),
            False,
            1,
        ),
        f"{block}, batch statistics": (
            lambda: ops.gated_residual_bn_relu(
                x, branches, alpha, None, None, *affine, training=True
            ),
            False,
            1,
        ),
        f"{block}, forward with gradients": (train, True, 1),
        f"{block}, backward": (backward, False, 1),
        f"{block}, step of it alone": (step, True, 1),
        f"{block}, step of one in a chain": (chain, True, CHAIN),
    }


def main() -> None:
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    if not on_gpu:
        triton.runtime.driver.set_active(NoDriver())
        backend._DEVICES["triton"] = ("cpu",)
    backend._forced = "triton"

    for name, (call, gradients, ops_in_a_row) in calls(device).items():
        with torch.set_grad_enabled(gradients):
            launches = launches_of(call)

            # The launches of the first op stand for those of the later ops in the chain.
            def bare(launches: list = launches * ops_in_a_row) -> None:
                for kernel, grid, args, options in launches:
                    kernel[grid](*args, **options)

            ours, theirs = (t / ops_in_a_row for t in microseconds(call, bare))
            line = {
                "op": name,
                "launches": len(launches),
                "call_us": round(ours, 1),
                "bare_us": round(theirs, 1),
                "ratio": round(ours / theirs, 2),
                "gpu": torch.cuda.get_device_name() if on_gpu else None,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
