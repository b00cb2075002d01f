"""The log, and how it is wound back when a run resumes."""

from pathlib import Path

import pytest

from softgate_ext.errors import InputError
from softgate_ext.runs.log import append_entry, read_log, rewind_log


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for epoch in (1, 2):
        append_entry(path, {"epoch": epoch, "watched": None})
    assert read_log(path) == [{"epoch": 1, "watched": None}, {"epoch": 2, "watched": None}]


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    assert read_log(path) == [{"epoch": 1}]


def test_rewinding_drops_what_the_state_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"ep')
    assert rewind_log(path, 2) == [{"epoch": 1}, {"epoch": 2}]
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert rewind_log(tmp_path / "log.jsonl", 0) == []


@pytest.mark.parametrize("line", [b"[1]", b"\xff\xfe", b'{"epoch": "x"}', b"{}"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + line + b'\n{"epoch": 3}\n')
    with pytest.raises(InputError, match="is damaged: line 2"):
        read_log(path)
