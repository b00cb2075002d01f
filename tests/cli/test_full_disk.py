"""Commands on a full disk end with one sentence and exit code 2, and leave no incomplete file."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from softgate_command import SMALL

from softgate_ext.cli.publish import PUBLISH
from softgate_ext.cli.run import COMMANDS, main
from softgate_ext.commands import publication, training_account
from softgate_ext.files import atomic
from softgate_ext.pretrained import shipped

DISK = 1 << 20  # bytes
ROOMS = (0, 4096, 20_000, 40_000, 100_000)  # bytes that are left

LINES = {
    "train": ["train {people} --out {disk}/run --epochs 2", *SMALL],
    "resume": ["train --out {disk}/run --resume --epochs 3"],
    "predict": ["predict {run} {image} --out {disk}/poses"],
    "evaluate": ["evaluate {run} {people} --json {disk}/a.json --save-predictions {disk}/a.npz"],
    "convert": ["evaluate {run} {people} --save-predictions {disk}/a.h5"],
    "export": ["export {run} --out {disk}/net.pt2 --format torch"],
    "prune": ["gates {run} --prune 0.1 --out {disk}/pruned"],
    "draw": ["gates {run} --png {disk}/gates.png"],
    "sheet": ["data check {people} --sheet {disk}/sheet.png"],
    "synth": ["synth {disk}/drawn --count 40"],
    "publish": ["publish {run} tiny --commit HEAD --cores 1 --workers 0 --no-flip-test"],
    "cache": ["data cache {people} --cache {disk}/crops --image-size 64"],
}


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """The folder as a disk of its own, of 1 MiB."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "softgate-tests", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs `mount` and the right to mount a tmpfs (root, on Linux)")
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs (root, on Linux): {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


CURVE = "docs/images/tiny_learning_curve.png"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def earlier(disk: Path, run: Path, name: str) -> None:
    """What the command would replace."""
    (disk / "docs" / "images").mkdir(parents=True)
    written = ("a.json", "a.npz", "a.h5", "net.pt2", "gates.png", "sheet.png")
    for file in (*written, "tiny.safetensors", "tiny.json", "docs/models.md", CURVE):
        (disk / file).write_bytes(b"earlier")
    if name == "resume":
        shutil.copytree(run, disk / "run", ignore=shutil.ignore_patterns("plots.png"))


def words_of(name: str, **places: Path) -> list[str]:
    line, *more = LINES[name]
    return [*(word.format(**places) for word in line.split()), *more]


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_a_full_disk(
    name: str,
    run: Path,
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    genuine, replaced = os.replace, set()

    def replace(source: Path, target: Path) -> None:
        genuine(source, target)
        replaced.add(str(target))

    monkeypatch.setattr(atomic.os, "replace", replace)
    monkeypatch.setattr(training_account, "commit_named", lambda name: name)
    places = {"run": run, "people": people, "image": people / "images/im0001.jpg"}
    for room in ROOMS:
        disk = tmp_path / f"disk{room}"
        disk.mkdir()
        with small_disk(disk):
            earlier(disk, run, name)
            left = os.statvfs(disk)
            (disk / "filler").write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - room)))
            before = contents(disk)
            monkeypatch.setattr(shipped, "FOLDER", disk)
            monkeypatch.setattr(publication, "SOURCES", disk)
            code = main(words_of(name, disk=disk, **places), {**COMMANDS, **PUBLISH})
            errors = capsys.readouterr().err
            after = contents(disk)
        if room and code == 0:  # there is room enough
            break
        (line,) = errors.splitlines()
        assert code == 2 and "No space left on device" in line
        # Of several files, those that were whole before the room ended are new.
        changed = {path for path in before if after.get(path) != before[path]}
        several = room and name != "publish"  # whose files belong together
        assert changed <= (replaced | {str(disk / "run/log.jsonl")} if several else set())
        assert not [path for path in after if path.endswith(".tmp")]
