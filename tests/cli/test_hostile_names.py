"""Names of files with control characters are read, and do not reach the terminal as they are."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from official import coco, write_coco

from softgate_ext.cli.run import main
from softgate_ext.data.formats import open_dataset
from softgate_ext.errors import InputError
from softgate_ext.files import printable


def test_a_name_with_a_zero_byte(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = write_coco(tmp_path / "dolls" / "dolls.json", coco([{"keypoints": [5, 6, 2] * 3}] * 4))
    text = json.loads(file.read_text())
    text["images"][0]["file_name"] = "a\0"
    file.write_text(json.dumps(text))
    assert "first a?; looked in" in refused("train", file, "--out", tmp_path / "out")
    with pytest.raises(InputError, match=r"^path: got .*; takes the folder"):
        open_dataset("a\0")


class Terminal:
    """A stream of a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_escape_sequences_do_not_reach_the_terminal(
    run: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "\x1b[31m\x1b]0;title\x07\r\u202e[red]"
    picture = tmp_path / f"{name}.jpg"
    shutil.copy(people / "images/im0001.jpg", picture)
    out, bad = tmp_path / f"out{name}", tmp_path / f"bad{name}.jpg"
    bad.write_bytes(b"")
    terminal = Terminal()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", terminal)
    assert main(["predict", str(run), str(picture), str(bad), "--out", str(out)]) == 3
    assert main(["gates", str(run), "--png", f"{out}/gates.png"]) == 0
    assert main(["data", "check", str(bad)]) == 2
    assert main(["synth", f"{out}/people", "--count", "2"]) == 0
    assert "[red]" in terminal.text
    for mark in ("\x1b[31m", "\x1b]", "\x07", "\r\u202e", "\u202e"):
        assert mark not in terminal.text


def test_programs_get_names_as_they_are(
    run: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = os.fsencode(tmp_path) + b"/\xff\x1b[31m.jpg"
    shutil.copy(people / "images/im0001.jpg", picture)
    out = tmp_path / "out"
    assert main(["predict", str(run), os.fsdecode(picture), "--out", str(out)]) == 0
    printable.tell("a\x1b")
    assert "\x1b[31m.png" in capfd.readouterr().out


def test_a_joint_is_one_row_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_coco(tmp_path / "dolls" / "dolls.json", coco([{"keypoints": [5, 6, 2] * 3}] * 4))
    text = json.loads(file.read_text())
    text["categories"][0]["keypoints"][0] = "left\n\x1b[31m hand"
    file.write_text(json.dumps(text))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", str(file)]) == 0
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if line.startswith("│ left??[31m hand │")]
    assert len(rows) == 1 and "\x1b" not in said
