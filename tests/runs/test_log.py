"""The log of a run, and how it is cut back when a run is resumed."""

import json
import math
from pathlib import Path

import pytest

from softgate_ext.errors import InputError
from softgate_ext.runs.log import append_entry, read_log, rewind_log

ENTRY = {"epoch": 1, "loss": 0.5, "watched": None}
LINE = json.dumps(ENTRY) + "\n"


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for epoch in (1, 2):
        append_entry(path, {**ENTRY, "epoch": epoch})
    assert read_log(path) == [ENTRY, {**ENTRY, "epoch": 2}]


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(LINE + '{"epo')
    assert read_log(path) == [ENTRY]


def test_rewinding_drops_what_the_state_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    second, third = (LINE.replace("1,", f"{epoch},", 1) for epoch in (2, 3))
    path.write_text(LINE + second + third + '{"ep')
    assert rewind_log(path, 2) == [ENTRY, {**ENTRY, "epoch": 2}]
    assert path.read_text() == LINE + second


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert rewind_log(tmp_path / "log.jsonl", 0) == []


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        *(
            json.dumps({**ENTRY, **change}).encode()
            for change in (
                {"epoch": "x"},
                {"epoch": True},
                {"epoch": 10**30},
                {"loss": math.nan},
                {"loss": None},
                {"elapsed": -1},
                {"processes": "2"},
                {"watched": 7},
                {"watched": {"metric": "PCK", "main": 5.0}},
                {"watched": {"metric": "PCK", "main": math.nan, "mean": 5.0}},
            )
        ),
    ],
    ids=lambda line: line[:40],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    for after in (b"", LINE.encode()):
        path.write_bytes(LINE.encode() + line + b"\n" + after)
        with pytest.raises(InputError, match="is damaged: line 2"):
            read_log(path)
