"""Trainings on the command line end after Ctrl-C, and can be resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from softgate_command import SMALL


def start_training(people: Path, out: Path, *options: object) -> "subprocess.Popen[str]":
    words = ["train", people, "--out", out, "--epochs", 100_000, *SMALL, "--workers", 1, *options]
    command = [sys.executable, "-m", "softgate_ext.cli", *map(str, words)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "training.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(people: Path, tmp_path: Path) -> None:
    process = start_training(people, tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (line,) = errors.splitlines()
    assert f"softgate train {people} --out {tmp_path / 'run'} --resume" in line
    assert not list((tmp_path / "run").glob(".*.tmp"))
