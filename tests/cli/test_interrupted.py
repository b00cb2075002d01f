"""Trainings from the command line that Ctrl-C or a kill ends, and how they go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from softgate_command import SMALL

from softgate_ext.cli.run import main
from softgate_ext.runs.log import read_log
from softgate_ext.runs.opening import load_run


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


def test_ctrl_c_says_how_to_go_on(people: Path, tmp_path: Path) -> None:
    process = start_training(people, tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (line,) = errors.splitlines()
    assert f"softgate train {people} --out {tmp_path / 'run'} --resume" in line
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs = 24
    options = ["--epochs", epochs, "--ema", 0.9, "--evaluate-every", 6]
    whole, out = tmp_path / "whole", tmp_path / "killed"
    words = ["train", people, "--out", whole, *SMALL, *options]
    assert main([str(word) for word in words]) == 0
    reached = []
    for delay in (0.0, 0.43):
        state = out / "training.pt"
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = start_training(people, out, *options, *(["--resume"] if before else []))
        while process.poll() is None and state.stat().st_mtime_ns == before:
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        load_run(out)
        reached.append(read_log(out / "log.jsonl")[-1]["epoch"])
    assert 0 < reached[0] < epochs and reached == sorted(reached)
    assert main(["train", "--out", str(out), "--resume", "--workers", "0"]) == 0
    assert [e["epoch"] for e in read_log(out / "log.jsonl")] == list(range(1, epochs + 1))
    for name in ("model.safetensors", "best.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not list(out.glob(".*.tmp"))
