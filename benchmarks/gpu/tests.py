"""Runs the tests that need a GPU: ``tests triton`` those of the Triton kernels, ``tests device`` the others."""

import importlib.util
import os
import sys

from benchmarks.gpu import device
from benchmarks.gpu.runner import ROOT

SELECTED = {
    "triton": ["tests/triton_kernels", "-m", "gpu"],
    "device": ["tests", "-m", "gpu", "--ignore=tests/triton_kernels"],
}


def command(kind: str) -> list[str]:
    """The pytest command. It uses a few processes where xdist is installed: they share the device."""
    count = min(8, os.cpu_count() or 1)
    parallel = ["-n", str(count)] if importlib.util.find_spec("xdist") and count > 1 else []
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *parallel,
        *SELECTED[kind],
    ]


def main(kind: str) -> None:
    device.require()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    os.chdir(ROOT)
    os.execve(sys.executable, command(kind), env)


if __name__ == "__main__":
    main(sys.argv[1])
