"""Competitors measured in turns within one run, so that the machine's moods fall on all alike.

A round runs every competitor once, in an order drawn anew; what is reported is the median of the
rounds with their 20th and 80th percentile. On a GPU, CUDA events time a row of calls on inputs that
together exceed its L2 cache; on a CPU a call is timed by itself, and what it needs may lie in
a cache if it fits there.

pytest-benchmark times the whole round, but reads :func:`fused_clock`, which advances by the fused
competitor's share alone: its statistics are thus of the interleaved measurement.
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
        name: how the report calls it.
        prepare: makes, unmeasured, what `run` takes, from the number of an input set.
        run: the measured call; what it returns is dropped.
        grad: whether autograd records.
        facts: what the report should know, such as the mode of a compiler.
        backend: the backend in force meanwhile.
        variant: the one of the CUDA kernels, likewise.
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
        """What a call of `prepare` or `run` needs around it."""
        with use_backend(self.backend), torch.set_grad_enabled(self.grad), forced(self.variant):
            yield


@contextmanager
def forced(variant: str) -> Iterator[None]:
    """A variant of the CUDA kernels for the calls inside."""
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
    """Rounds of competitors.

    Args:
        competitors: of distinct names.
        device: "cpu" or "cuda".
        sets: input sets, through which each measured row of calls goes once.
        clock: of calls on the CPU, in seconds. `time.process_time` leaves out what other processes
            take of a busy machine; it adds up the threads of this one.
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
        """Unrecorded rounds, in which compilers compile; returns the seconds of the last one."""
        start = 0.0
        for _ in range(rounds):
            start = time.perf_counter()
            for competitor in self.competitors:
                self._measure(competitor)
        seconds = time.perf_counter() - start
        gc.collect()
        return seconds

    def round(self) -> None:
        """Every competitor once, recorded."""
        global _fused_seconds
        for competitor in self._random.sample(self.competitors, len(self.competitors)):
            seconds, faults = self._measure(competitor)
            self.seconds[competitor.name].append(seconds)
            self.faults[competitor.name].append(faults)
            if competitor.name == FUSED:
                _fused_seconds += seconds

    def result(self, competitor: Competitor) -> Any:
        """What one call returns, on the first input set."""
        with competitor.in_force():
            return competitor.run(competitor.prepare(0))

    def summary(self) -> dict[str, dict[str, Any]]:
        """By competitor: seconds (median, p20, p80), rounds, page faults (median) and facts."""
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
        """Seconds per call, and the page faults of all calls."""
        with competitor.in_force():
            states = [competitor.prepare(i) for i in range(self.sets)]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            seconds = _time(competitor.run, states, self.device, self.clock) / self.sets
            return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


HEAD_START = 2_000_000  # cycles that a GPU idles before a measured row: about a millisecond


def _time(
    run: Callable[[Any], Any], states: Sequence[Any], device: str, clock: Callable[[], float]
) -> float:
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(
            HEAD_START
        )  # meanwhile the host enqueues: its latency is not the kernels'
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
    """Median, 20th and 80th percentile, interpolated."""
    if len(values) == 1:
        return dict.fromkeys(("median", "p20", "p80"), values[0])
    fifths = statistics.quantiles(values, n=5, method="inclusive")
    return {"median": statistics.median(values), "p20": fifths[0], "p80": fifths[3]}
