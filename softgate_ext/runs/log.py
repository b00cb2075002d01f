"""The log of a run: one line of JSON per epoch."""

import json
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError, reason
from softgate_ext.files.atomic import write_text
from softgate_ext.files.reading import parse_json
from softgate_ext.files.unfolding import check_holes
from softgate_ext.ranges import RANGES

Entry = dict[str, Any]


def read_log(path: Path) -> list[Entry]:
    """Reads the entries of a log. A last line that a killed process left incomplete is ignored.

    Raises:
        InputError: the file cannot be read, or another line is damaged.
    """
    data = b""
    try:
        if path.is_file():
            check_holes(path)
            data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({reason(error)})") from error
    lines, cut = data.splitlines(), not data.endswith(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_json(line)
        except ValueError:  # also UnicodeDecodeError
            entry = None
        if _is_entry(entry):
            entries.append(entry)
        elif number < len(lines) or entry is not None or not cut:
            raise InputError(
                f"{path} is damaged: line {number} is no entry of an epoch; remove that line"
            )
    return entries


def _is_entry(entry: Any) -> bool:
    """Whether a value is the entry of an epoch, with each number in its range."""
    if not isinstance(entry, dict) or entry.get("epoch") == 0:
        return False
    watched = entry.get("watched")
    if watched is not None and not (
        isinstance(watched, dict)
        and isinstance(watched.get("metric"), str)
        and all(
            name in watched and (watched[name] is None or watched[name] in RANGES["best"])
            for name in ("main", "mean")
        )
    ):
        return False
    return all(
        entry[name] in RANGES[name] if name in entry else name not in _NEEDED for name in _NUMBERS
    )


_NUMBERS = ("epoch", "step", "loss", "skipped", "elapsed", "processes")
_NEEDED = ("epoch", "loss")


def append_entry(path: Path, entry: Entry) -> None:
    """Appends an entry to the log as one line.

    Raises:
        InputError: the file cannot be written to.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); make room and resume") from error


def rewind_log(path: Path, epochs: int) -> list[Entry]:
    """Removes the entries after the first `epochs` epochs, so that a resume does not log them twice.

    Returns:
        The remaining entries.
    """
    entries = [entry for entry in read_log(path) if entry["epoch"] <= epochs]
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return entries
