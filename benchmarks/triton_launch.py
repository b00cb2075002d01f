"""What a call of a Triton op costs on the CPU, beside a bare launch of the same kernels.

    python -m benchmarks.triton_launch

Small tensors at deep levels are bound by this. On a GPU the launches are real (the tensors are so
small that the GPU keeps up); elsewhere a stand-in for Triton's driver swallows them, which leaves
out the driver's own share on both sides.
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

from softgate_ext import backend, ops, triton_kernels

ROUNDS, CALLS = 15, 200


class NoDriver:
    """Compiles for sm_90 and launches nothing."""

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
    """The launches inside a call, with all they were given."""
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
    """Medians over rounds in which the calls take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            found.append((time.perf_counter() - start) / CALLS * 1e6)
    return [statistics.median(t) for t in times]


def main() -> None:
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    if not on_gpu:
        triton.runtime.driver.set_active(NoDriver())
        backend._DEVICES["triton"] = ("cpu",)
    backend._forced = "triton"

    c = 64
    sizes = ((c, 8), (c // 2, 8), (c, 4))
    x, half, low = (torch.randn(2, k, s, s, device=device) for k, s in sizes)
    other = half.clone()
    alpha, *vectors = (torch.rand(c, device=device) for _ in range(5))
    cases = {
        "gated_residual": lambda o: lambda: o.gated_residual(x, [half, other], alpha),
        "skip_merge": lambda o: lambda: o.skip_merge(x, low, alpha, "add"),
        "bn_relu eval": lambda o: lambda: o.bn_relu(x, *vectors),
        "gated_residual_bn_relu eval": lambda o: (
            lambda: o.gated_residual_bn_relu(x, [half, other], alpha, *vectors)
        ),
        "gated_residual_bn_relu train": lambda o: (
            lambda: o.gated_residual_bn_relu(
                x, [half, other], alpha, None, None, *vectors[2:], True
            )
        ),
    }
    assert triton_kernels.KERNELS
    with torch.no_grad():
        for name, case in cases.items():
            call = case(ops)
            launches = launches_of(call)

            def bare(launches: list = launches) -> None:
                for kernel, grid, args, options in launches:
                    kernel[grid](*args, **options)

            ours, theirs = microseconds(call, bare)
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
