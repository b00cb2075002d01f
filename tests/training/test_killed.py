"""After a training is killed, no process of it is left, and it can be resumed at once."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from softgate_ext.errors import InputError
from softgate_ext.files.lock import FolderLock
from softgate_ext.runs.log import read_log
from softgate_ext.runs.opening import load_run

BLOCKED = Path(__file__).with_name("blocked_workers.py")
TRAIN = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv.pop(1))
    from softgate_ext.cli import main
    main()
"""
TINY = """
--model hybrid_1x32 --model-options width 8 depth 2 groups 1 --image-size 64 --batch-size 4
--threads 1 --device cpu --amp off --no-plots --workers 1
"""
KILLS = int(os.environ.get("SOFTGATE_KILLS", "5"))


def start(*words: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, *map(str, words)], start_new_session=True)


def members(session: int) -> list[str]:
    """The processes of a session that have not ended, by what they were started with."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def await_(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def kill(process: "subprocess.Popen[bytes]", workers: int) -> None:
    """Kills the first process of a session that has so many others; these end within a second."""
    assert len(members(process.pid)) > workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 1
    while left := members(process.pid):
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(left)
        time.sleep(0.02)


def test_a_forked_child_has_no_part_in_a_lock(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    opened = multiprocessing.Queue()

    def child() -> None:
        nonlocal lock
        descriptors = Path("/proc/self/fd").iterdir()
        opened.put([os.readlink(path) for path in descriptors if path.exists()])
        lock.release()
        del lock
        gc.collect()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert str(tmp_path) not in opened.get(timeout=30)
    process.join()
    with pytest.raises(InputError, match="another process"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "wait"),
    [("fork", "picture"), ("fork", "queue"), ("spawn", "picture"), ("forkserver", "queue")],
)
def test_workers_end_with_their_parent_whatever_they_wait_for(
    tmp_path: Path, method: str, wait: str
) -> None:
    process = start(BLOCKED, method, wait, tmp_path)
    await_(lambda: len(list(tmp_path.glob("began*"))) == 2, 60)
    time.sleep(0.3)  # the pipe is opened, or the queue filled
    kill(process, 2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_training_is_resumed_at_once(people: Path, tmp_path: Path, method: str) -> None:
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(TRAIN)
    words = [script, method, "train", people, "--out", out, *TINY.split()]
    words += ["--epochs", 1000]
    process = start(*words)
    await_(lambda: (out / "training.pt").exists(), 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    FolderLock(out).release()  # at once, however long its workers take
    done = len(read_log(out / "log.jsonl"))
    process = start(*words, "--resume")
    await_(lambda: len(read_log(out / "log.jsonl")) > done, 120)
    kill(process, 1)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(people: Path, tmp_path: Path) -> None:
    """`make kills` does it 50 times; each second time the workers are left as orphans."""
    epochs, random = 12 * KILLS, Random(KILLS)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    options = ["--epochs", epochs, "--ema", 0.9, "--evaluate-every", 6, *TINY.split()]
    words = ["-m", "softgate_ext.cli", "train", people]
    assert start(*words, "--out", whole, *options).wait() == 0
    state, reached = out / "training.pt", [0]
    for number in range(KILLS):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = start(*words, "--out", out, *options, *(["--resume"] if before else []))
        if number % 3:  # else it may die before it has done anything
            await_(lambda old=before: state.exists() and state.stat().st_mtime_ns != old, 240)
            time.sleep(random.uniform(0, 0.3))
        else:
            time.sleep(random.uniform(0, 4))
        assert process.poll() is None, "it ended before it was killed"
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            kill(process, 0)
        if state.exists():
            load_run(out)
            reached.append(read_log(out / "log.jsonl")[-1]["epoch"])
    assert reached[0] < reached[-1] < epochs and reached == sorted(reached)
    assert start(*words, "--out", out, *options, "--resume").wait() == 0
    assert [entry["epoch"] for entry in read_log(out / "log.jsonl")] == list(range(1, epochs + 1))
    for name in ("model.safetensors", "best.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not list(out.glob(".*.tmp"))
