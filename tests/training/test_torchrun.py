"""Several processes under torchrun, started as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from softgate_ext.runs.log import read_log
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

pytestmark = pytest.mark.slow

# Three people a step, so that the processes' shares differ in size.
WORDS = [
    "--model",
    "hybrid_1x32",
    "--model-options",
    "width",
    "8",
    "depth",
    "2",
    "groups",
    "1",
    "--image-size",
    "64",
    "--batch-size",
    "3",
    "--optimizer",
    "rmsprop",
    "--lr",
    "1e-3",
    "--workers",
    "0",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--amp",
    "off",
    "--no-plots",
    "--ema",
    "0.9",
]


def start(
    people: Path, out: Path, *words: object, program: Sequence[str] = ("-m", "softgate_ext.cli")
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += [*program, "train", str(people), "--out", str(out), *WORDS]
    pipe, joined = subprocess.PIPE, subprocess.STDOUT
    words_ = [str(word) for word in words]
    return subprocess.Popen(
        [*command, *words_], stdout=pipe, stderr=joined, text=True, start_new_session=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def ranks(out: Path) -> dict[int, int]:
    """Process ids of the training into `out`, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            setting = dict(
                entry.split(b"=", 1)
                for entry in (folder / "environ").read_bytes().split(b"\0")
                if b"=" in entry
            )
        except OSError:
            continue
        if str(out).encode() in words and b"RANK" in setting:
            found[int(setting[b"RANK"])] = int(folder.name)
    return found


def test_two_processes_make_the_steps_of_one(
    people: Path, tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """And measure them alike, by the scores too, which OKS goes by: where convolutions round little."""
    oks = {"metric": "oks", "oks_sigmas": (0.5,) * 14, "conv": "direct"}
    alone = train(tiny(out=tmp_path / "one", batch_size=3, ema=0.9, epochs=2, **oks))
    words = ["--epochs", 2, "--sync-bn", "--conv", "direct", "--metric", "oks"]
    words += ["--oks-sigmas", *[0.5] * 14]
    output = finish(start(people, tmp_path / "two", *words))
    assert output.count("epoch   1") == 1 and "2 processes" in output
    together = read_log(tmp_path / "two" / "log.jsonl")
    for one, two in zip(alone, together, strict=True):
        assert two["watched"]["AP"] == one["watched"]["AP"] > 0 and two["step"] == one["step"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    # Another number of processes goes on where these stopped.
    again = {"batch_size": 3, "ema": 0.9, "epochs": 3, **oks}
    longer = tiny(out=tmp_path / "two", resume=True, sync_bn=True, **again)
    assert [entry["step"] for entry in train(longer)] == [3, 6, 9]


def test_when_one_is_killed_all_end_and_the_resume_gives_the_same_weights(
    people: Path, tmp_path: Path
) -> None:
    """Without synchronised batch norms, where each process has statistics of its own."""
    options = ("--epochs", 6, "--evaluate-every", 3)
    finish(start(people, tmp_path / "whole", *options))
    out = tmp_path / "killed"
    process = start(people, out, *options)
    while not (out / "training.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(ranks(out)[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and not ranks(out), output
    assert len(read_log(out / "log.jsonl")) < 6
    finish(start(people, out, *options, "--resume"))
    for name in ("model.safetensors", "best.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_fault_is_said_once_and_ctrl_c_ends_all(people: Path, tmp_path: Path) -> None:
    process = start(people, tmp_path / "run", "--batch-size", 1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and not (tmp_path / "run").exists()
    assert output.count("softgate: batch_size: got 1") == 1

    process = start(people, tmp_path / "run", "--epochs", 100_000)
    while not (tmp_path / "run" / "training.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert output.count("softgate: interrupted; continue") == 1, output
    assert "--nproc-per-node 2" in output and not ranks(tmp_path / "run")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_each_process_has_a_gpu(people: Path, tmp_path: Path) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        finish(start(people, out, "--epochs", 1, "--sync-bn", "--device", device))
        losses.append(read_log(out / "log.jsonl")[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_no_thread_of_gloo_outlives_the_training(people: Path, tmp_path: Path) -> None:
    """One that does may free a tensor while the interpreter ends, and abort it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\n"
        "from softgate_ext.cli.run import main\n"
        "code = main()\n"
        "names = [(task / 'comm').read_text() for task in pathlib.Path('/proc/self/task').iterdir()]\n"
        "sys.exit(code or sum('gloo' in name for name in names))\n"
    )
    finish(start(people, tmp_path / "out", "--epochs", 1, program=[str(script)]))
