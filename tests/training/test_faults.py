"""Faults at the n-th write or allocation end with one sentence, and no file is damaged."""

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from stored_weights import assert_same_weights
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext.cli.run import main
from softgate_ext.files import atomic
from softgate_ext.runs.checkpoint import load_state
from softgate_ext.runs.log import read_log
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.places import CONFIG, STATE

CALLS = int(os.environ.get("SOFTGATE_FAULTS", "8"))  # of tensors, which are too many to try each
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))
# As PyTorch says it of the processor's memory.
NONE_LEFT = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes.")
WORDS = ("No space left on device", "Input/output error", "out of memory")
TRAIN = """--model hybrid_1x32 --model-options width 8 depth 2 groups 1 --image-size 64 --batch-size 4
--workers 0 --threads 1 --device cpu --amp off --no-plots --epochs 2"""


class Counted:
    """Raises at the n-th call, and counts."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.calls, self._at, self._error = 0, at, error

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            raise self._error


@contextmanager
def failing(name: str, error: BaseException, at: int) -> Iterator[Counted]:
    """A block in which the n-th `os.fsync` or `os.replace` of a file fails."""
    counted, genuine = Counted(at, error), getattr(os, name)

    def stand_in(*arguments: Any) -> Any:
        counted()
        return genuine(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic.os, name, stand_in)
        yield counted


class Memory(TorchDispatchMode):
    """A block in which the n-th operation that makes a tensor finds no memory."""

    def __init__(self, error: BaseException, at: int) -> None:
        super().__init__()
        self.counted = Counted(at, error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted()
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Counted:
        super().__enter__()
        return self.counted


def is_whole(run: Path) -> None:
    """Whatever files a run has can be read; nothing else is there."""
    if (run / STATE).exists():
        load_state(run)
        read_log(run / "log.jsonl")
    if (run / CONFIG).exists() and (run / "model.safetensors").exists():
        load_run(run)
    assert not list(run.glob(".*.tmp"))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("softgate: ") and any(word in line for word in WORDS), line
    return line


@pytest.mark.slow
@pytest.mark.parametrize(("name", "error"), [("fsync", BROKEN), ("replace", FULL)])
def test_each_write_of_a_training(
    name: str,
    error: OSError,
    run: Path,
    people: Path,
    tmp_path: Path,
    one_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says so at each of them, and goes on from there to the same weights."""
    out = tmp_path / "run"
    words = [
        "train",
        str(people),
        "--out",
        str(out),
        *TRAIN.split(),
        "--optimizer",
        "rmsprop",
        "--lr",
        "1e-3",
    ]
    for at in itertools.count(1):
        with failing(name, error, at) as counted:
            code = main(words)
        if counted.calls < at:
            break
        assert code == 2
        said(capsys)
        is_whole(out)
        if (out / STATE).exists() and at % 3 == 0:
            assert main(["train", "--out", str(out), "--resume"]) == 0
            assert_same_weights(out, run)
            capsys.readouterr()
        shutil.rmtree(out)
    assert code == 0 and at > 5
    assert_same_weights(out, run)


def tensors(words: list[str]) -> int:
    """Tensors that a command makes."""
    with Memory(MemoryError(), 0) as counted:
        assert main(words) == 0
    return counted.calls


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError(), NONE_LEFT], ids=["python", "torch"])
@pytest.mark.parametrize("command", ["train", "predict", "resume"])
def test_memory_that_ends(
    command: str,
    error: Exception,
    run: Path,
    people: Path,
    tmp_path: Path,
    one_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = {
        "train": ["train", str(people), "--out", str(out), *TRAIN.split()],
        "resume": ["train", "--out", str(out), "--resume", "--epochs", "3"],
        "predict": ["predict", str(run), str(people / "images"), "--out", str(out)],
    }[command]

    def anew() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if command == "resume":
            shutil.copytree(run, out)

    anew()
    count = tensors(words)
    assert count > 100
    for place in range(CALLS):
        anew()
        with Memory(error, 1 + place * (count - 1) // (CALLS - 1)) as counted:
            code = main(words)
        errors = capsys.readouterr().err
        assert counted.calls and code in ((2, 3) if command == "predict" else (2,)), errors
        # Where safetensors found none, it says that the file cannot be read.
        lines = [line for line in errors.splitlines() if "pictures/s" not in line]
        assert lines and all(line.startswith(("softgate: ", "image")) for line in lines), errors
        if out.exists() and command != "predict":
            is_whole(out)
    if command == "resume":
        anew()
        before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        with Memory(error, 1):
            assert main(words) == 2
        assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("name", ["fsync", "link", "replace"])
def test_files_that_belong_together_are_replaced_together(
    name: str, at: int, there: bool, tmp_path: Path
) -> None:
    paths = [tmp_path / letter for letter in "abc"]
    for path in paths if there else ():
        path.write_text("earlier")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    fails = name != "link" or at < 3  # the last is not kept, since nothing can fail after it
    with (
        failing(name, FULL, at),
        pytest.raises(ValueError, match=r"cannot write .*No space left")
        if fails
        else nullcontext(),
        atomic.replacing_together(*paths) as temporaries,
    ):
        for temporary in temporaries:
            temporary.write_text("new")
    after = before if fails else dict.fromkeys("abc", "new")
    assert after == {path.name: path.read_text() for path in tmp_path.iterdir()}
