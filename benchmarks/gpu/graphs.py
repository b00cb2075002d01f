"""Times calls by replaying them as a CUDA graph, so that the time of the host is not measured.

On a CPU there are no graphs, and the calls are timed directly. This serves only to try the steps
out at small sizes.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

REPLAYS = 20
WARM_UP = 3  # calls before the capture, in which compilers compile


class Replay:
    """A sequence of calls, captured in one graph after a warm-up.

    Args:
        make: makes the calls to capture. It runs on the stream of the capture, since autograd runs
            a backward on the stream of its forward. The results of the calls are kept for the replays.
        device: "cpu" or "cuda".
    """

    def __init__(self, make: Callable[[], list[Callable[[], Any]]], device: str):
        self.device = device
        if device == "cpu":
            self.calls = make()
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.calls = make()
            for _ in range(WARM_UP):
                for call in self.calls:
                    call()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.kept = [call() for call in self.calls]

    def run(self) -> None:
        if self.device == "cpu":
            for call in self.calls:
                call()
        else:
            self.graph.replay()

    def seconds(self, replays: int = REPLAYS) -> float:
        """The seconds of one call: the median over replays."""
        return statistics.median(self._timed() for _ in range(replays)) / len(self.calls)

    def _timed(self) -> float:
        if self.device == "cpu":
            start = time.perf_counter()
            self.run()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        self.run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def kernels(self) -> dict[str, float]:
        """The microseconds of each kernel in one call, by the name of the kernel."""
        if self.device == "cpu":
            return {}
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            self.run()
            torch.cuda.synchronize()
        return {
            event.key[:80]: round(event.self_device_time_total / len(self.calls), 2)
            for event in profile.key_averages()
            if event.self_device_time_total > 0
        }
