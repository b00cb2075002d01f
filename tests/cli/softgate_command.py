"""Runs the command line as a process or as a call, and has options for a training that takes seconds."""

import os
import shlex
import subprocess
import sys

import pytest

from softgate_ext.cli.run import main

SMALL = shlex.split(
    "--model hybrid_1x32 --model-options width 8 depth 2 groups 1 --image-size 64 --batch-size 4 "
    "--workers 0 --threads 1 --device cpu"
)


def softgate(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "softgate_ext.cli", *map(str, words)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("softgate: ")
    return line
