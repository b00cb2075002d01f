"""Measures competitors in turns, so that changes in the load of the machine affect all of them.

A round runs every competitor once, in random order. The median of the rounds is reported, with the
20th and 80th percentile. On a GPU, CUDA events time a sequence of calls on inputs that together
exceed its L2 cache. On a CPU each call is timed alone, and its inputs may lie in a cache.

pytest-benchmark times whole rounds, but it reads :func:`fused_clock`, which advances only while the
fused competitor runs. Its statistics are therefore those of the fused competitor.
"""

import gc
import importlib
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from softgate_ext.ops.backend import use_backend

FUSED = "fused"

_fused_seconds = 0.0


def fused_clock() -> float:
    """Seconds that fused competitors have run so far, in all races."""
    return _fused_seconds


@dataclass(frozen=True)
class Competitor:
    """One way to do the work.

    Attributes:
        name: its name in the report.
        prepare: makes the argument of `run` from the number of an input set. It is not measured.
        run: the measured call. Its result is dropped.
        grad: whether autograd records the call.
        facts: facts for the report, such as the mode of a compiler.
        backend: backend of the ops during the call.
        variant: variant of the CUDA kernels during the call.
    """

    name: str
    run: Callable[[Any], Any]
    prepare: Callable[[int], Any] = int
    grad: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    variant: str = "automatic"

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The context in which `prepare` and `run` are called."""
        with use_backend(self.backend), torch.set_grad_enabled(self.grad), forced(self.variant):
            yield


@contextmanager
def forced(variant: str) -> Iterator[None]:
    """A context in which the CUDA kernels use one variant. "automatic" changes nothing."""
    if variant == "automatic":
        yield
        return
    extension = importlib.import_module("softgate_ext._C")
    extension.force_variant(variant)
    try:
        yield
    finally:
        extension.force_variant("automatic")


class Race:
    """Measures competitors in rounds.

    Args:
        competitors: competitors with distinct names.
        device: "cpu" or "cuda".
        sets: number of input sets. A measurement calls each competitor once on each set.
        clock: returns seconds, for calls on the CPU. `time.process_time` does not count the time of
            other processes on a busy machine, and adds up the threads of this one.
    """

    def __init__(
        self,
        competitors: Sequence[Competitor],
        device: str,
        sets: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.competitors = list(competitors)
        self.device = device
        self.sets = sets
        self.clock = clock
        self.seconds: dict[str, list[float]] = {c.name: [] for c in competitors}
        self.faults: dict[str, list[int]] = {c.name: [] for c in competitors}
        self._random = random.Random(0)

    def warm_up(self, rounds: int) -> float:
        """Runs rounds that are not recorded, for compilers. Returns the seconds of the last one."""
        start = 0.0
        for _ in range(rounds):
            start = time.perf_counter()
            for competitor in self.competitors:
                self._measure(competitor)
        seconds = time.perf_counter() - start
        gc.collect()
        return seconds

    def round(self) -> None:
        """Measures every competitor once and records the times."""
        global _fused_seconds
        for competitor in self._random.sample(self.competitors, len(self.competitors)):
            seconds, faults = self._measure(competitor)
            self.seconds[competitor.name].append(seconds)
            self.faults[competitor.name].append(faults)
            if competitor.name == FUSED:
                _fused_seconds += seconds

    def result(self, competitor: Competitor) -> Any:
        """The result of a call on the first input set."""
        with competitor.in_force():
            return competitor.run(competitor.prepare(0))

    def summary(self) -> dict[str, dict[str, Any]]:
        """The seconds (median, p20, p80), rounds, median page faults and facts of each competitor."""
        return {
            c.name: {
                **quantiles(self.seconds[c.name]),
                "rounds": len(self.seconds[c.name]),
                "page_faults": statistics.median(self.faults[c.name]),
                **c.facts,
            }
            for c in self.competitors
        }

    def _measure(self, competitor: Competitor) -> tuple[float, int]:
        """The seconds per call, and the page faults of all calls together."""
        with competitor.in_force():
            states = [competitor.prepare(i) for i in range(self.sets)]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            seconds = _time(competitor.run, states, self.device, self.clock) / self.sets
            return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


HEAD_START = 2_000_000  # cycles that a GPU idles before the measured calls: about a millisecond


def _time(
    run: Callable[[Any], Any], states: Sequence[Any], device: str, clock: Callable[[], float]
) -> float:
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        # The host enqueues the calls while the GPU idles, so that its latency is not measured.
        torch.cuda._sleep(HEAD_START)
        start.record()
        for state in states:
            run(state)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = clock()
    for state in states:
        run(state)
    return clock() - begin


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The median and the interpolated 20th and 80th percentiles, as "median", "p20" and "p80"."""
    if len(values) == 1:
        return dict.fromkeys(("median", "p20", "p80"), values[0])
    fifths = statistics.quantiles(values, n=5, method="inclusive")
    return {"median": statistics.median(values), "p20": fifths[0], "p80": fifths[3]}
