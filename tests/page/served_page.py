"""Starts the page by the command line, and sends requests to it."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Served:
    """Where the page is, the run it serves, and the process."""

    port: int
    run: Path
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a path that is sent as it stands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def pose(self, picture: bytes) -> dict[str, Any]:
        """What is found in a picture."""
        status, data = self.ask("POST", "/pose", picture)
        assert status == 200, data
        return json.loads(data)


@contextmanager
def started(run: Path, temporary: Path, *more: object) -> Iterator["subprocess.Popen[str]"]:
    """The process of the page, with small limits; `temporary` is where it may write."""
    words = ["serve", run, "--port", 0, "--max-megabytes", 0.2, "--max-megapixels", 1, *more]
    command = [sys.executable, "-m", "softgate_ext.cli", *map(str, words), "--device", "cpu"]
    pipe, env = subprocess.PIPE, {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def served_by(process: "subprocess.Popen[str]", run: Path) -> Served:
    """Where the page is, once it says so."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"serving {run} at http://127.0.0.1:"), process.communicate()
    return Served(int(line.split(":")[2].split()[0]), run, process)
