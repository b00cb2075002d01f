"""Too many open files, and other limits of the machine, are reported with the options that help, before the training where possible."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softgate_ext.inference.batches import check_open_files


@pytest.mark.parametrize("workers", [1, 4, 1000])
def test_few_open_files_are_told_before_the_training(
    workers: int, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = len(os.listdir("/dev/fd")) + 12 * workers
    if limits[1] != resource.RLIM_INFINITY:
        most = min(most, limits[1])
    words = ["train", people, "--out", tmp_path / "out", "--workers", workers, "--device", "cpu"]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        line = refused(*words)
        check_open_files(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert f"workers: got {workers}, which may open {12 * (workers + 1)} files" in line
    assert not (tmp_path / "out").exists()


FEWER_FILES = "use fewer --workers, or a higher `ulimit -n`"
LARGER = "use fewer --workers, a smaller --batch-size, or a larger /dev/shm"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(24, "Too many open files"), FEWER_FILES),
        (RuntimeError("unable: Too many open files (24)"), FEWER_FILES),
        # As PyTorch says it.
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), LARGER),
        (RuntimeError("DataLoader worker (pid(s) 9) exited unexpectedly"), LARGER),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared "
                      "memory(shm) for file </torch_1>: No space left on device (28)"), LARGER),
    ],
    ids=str,
)  # fmt: skip
def test_limits_of_the_machine_are_a_sentence(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    from softgate_ext.cli import tools

    def fail(config: Any) -> None:
        raise error

    monkeypatch.setattr(tools, "print_info", fail)
    assert refused("info").endswith(advice)
