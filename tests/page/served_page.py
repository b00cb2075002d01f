"""The page as the command line serves it, and where it is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """Where the page is, the run it serves, and the process."""

    port: int
    run: Path
    files: Path
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def started(run: Path, temporary: Path) -> Iterator["subprocess.Popen[str]"]:
    """The process of the page, with small limits and its files in a folder below `temporary`."""
    words = ["serve", run, "--port", 0, "--max-megabytes", 0.2, "--max-megapixels", 1]
    command = [sys.executable, "-m", "softgate_ext.cli", *map(str, words), "--device", "cpu"]
    pipe, env = subprocess.PIPE, {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def served_by(process: "subprocess.Popen[str]", run: Path, temporary: Path) -> Served:
    """Where the page is, once it says so."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"serving {run} at http://127.0.0.1:"), process.communicate()
    (files,) = temporary.glob("softgate-*")
    return Served(int(line.split(":")[2].split()[0]), run, files, process)
