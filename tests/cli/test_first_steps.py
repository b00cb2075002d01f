"""Every command of the page of first steps runs as a new user types it."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "start.md"
# What makes it quick: each must be on the page, so that page and test cannot drift apart.
SMALLER = {
    "--count 400": "--count 12",
    "im0301.jpg": "im0011.jpg",
    "--model hybrid_1x48 --image-size 128": "--model hybrid_1x32 --image-size 64",
    "--minutes 3": "--epochs 1 --batch-size 4 --workers 0 --threads 1 --device cpu",
    "--port 7860": "--port 0 --device cpu",
}


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    for words, fewer in SMALLER.items():
        assert text.count(words) == 1
        text = text.replace(words, fewer)
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    softgate ")]


def start(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "softgate_ext.cli", *words]
    pipe = subprocess.PIPE
    root = str(PAGE.parents[1])
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=env)


@pytest.mark.slow
def test_first_steps(tmp_path: Path) -> None:
    *steps, serve = commands()
    names = ["info", "synth", "data", "train", "evaluate", "predict", "gates"]
    assert [words[0] for words in steps] == names and serve[0] == "serve"
    said = {}
    for words in steps:
        process = start(words, tmp_path)
        said[words[0]], errors = process.communicate(timeout=300)
        assert process.returncode == 0, (words, errors)
    assert "hybrid_1x48" in said["info"]
    assert "weighted mean" in said["evaluate"] and "mean pose" in said["evaluate"]
    written = ["sheet.png", "runs/first/plots.png", "gates.png"]
    written += ["poses/im0011.png", "poses/predictions.json"]
    assert all((tmp_path / name).is_file() for name in written)

    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        pytest.skip(
            "the page itself needs the extra serve: starlette and uvicorn are not installed"
        )
    process = start(serve, tmp_path)
    assert process.stdout is not None
    address = process.stdout.readline().split()[3]
    try:
        with urllib.request.urlopen(address, timeout=60) as page:
            assert page.status == 200 and b"<html" in page.read().lower()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
