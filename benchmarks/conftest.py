"""The command line options of the benchmarks, their cases, and the race that each of them runs."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from benchmarks.cases import op_cases
from benchmarks.machine import describe_machine
from benchmarks.memory import keep_memory
from benchmarks.modules import block_cases, network_cases
from benchmarks.peers import PEERS, available_peers
from benchmarks.race import FUSED, Competitor, Race

_MEMORY = pytest.StashKey[str]()

CASES = {"op_case": op_cases, "block_case": block_cases, "network_case": network_cases}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("softgate benchmarks")
    group.addoption("--quick", action="store_true", help="tiny sizes: does everything run?")
    group.addoption("--device", choices=("cpu", "cuda"), help="default: all that are there")
    group.addoption("--peers", help=f"of {','.join(PEERS)} (default: all that can run)")
    group.addoption("--seconds", type=float, default=1.5, help="to spend on a case (default: 1.5)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEMORY] = keep_memory()
    if config.getoption("quick"):
        torch.set_num_threads(1)  # on a busy machine several threads would wait for each other


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick, device = (metafunc.config.getoption(o) for o in ("quick", "device"))
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for name, cases in CASES.items():
        if name in metafunc.fixturenames:
            found = [case for d in devices for case in cases(d, quick)]
            metafunc.parametrize(name, found, ids=str)


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info.clear()
    machine_info.update(describe_machine(), memory=config.stash[_MEMORY])


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """Returns a function that lists the names of the competitors for a device."""
    asked, quick = (request.config.getoption(o) for o in ("peers", "quick"))

    def choose(device: str, compiled: bool = True) -> list[str]:
        found = available_peers(device)
        if asked:
            unknown = set(asked.split(",")) - set(found)
            if unknown:
                raise pytest.UsageError(f"--peers: {min(unknown)} is none of {', '.join(found)}")
            found = [name for name in found if name in (FUSED, *asked.split(","))]
        # Compiling takes longer than a quick run may.
        compiled = compiled and (bool(asked) or not quick)
        return [name for name in found if compiled or PEERS[name].mode is None]

    return choose


@pytest.fixture
def compete(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., Race]:
    """Returns a function that runs a race and gives its results to pytest-benchmark."""
    quick, seconds = (request.config.getoption(o) for o in ("quick", "seconds"))

    def run(competitors: Sequence[Competitor], case: Any, sets: int = 1, **facts: Any) -> Race:
        race = Race(competitors, case.device, sets)
        round_seconds = race.warm_up(1 if quick else 3)
        rounds = 2 if quick else min(100, max(7, int(seconds / round_seconds)))
        benchmark.group = type(case).__name__
        benchmark.pedantic(race.round, rounds=rounds)
        benchmark.extra_info.update(
            case=str(case),
            quick=quick,
            **dataclasses.asdict(case),
            **facts,
            input_sets=sets,
            load=os.getloadavg()[0],
            competitors=race.summary(),
        )
        return race

    return run
