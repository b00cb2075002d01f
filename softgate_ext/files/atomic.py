"""Atomic writing: a file is replaced completely or not at all."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.files.paths import unusual


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` if the block ends well.

    The bytes are on the disk before the file is renamed. A reader, or a process that starts after this
    one was killed, therefore sees the old file or the new one. If the block raises, `path` is not
    changed and the temporary file is removed.

    Raises:
        InputError: the folder cannot be written to, or `path` is a named pipe or a device.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if what := unusual(path):
        raise InputError(f"cannot write {path}, which is {what}; give a file")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); give a place that can be written to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Removes temporary files that killed processes left in `folder` while they wrote `names`."""
    for name in (*names, "probe"):
        stem = "." + name
        for leftover in folder.glob(".*.tmp"):
            number = leftover.name.removesuffix(".tmp").removeprefix(f"{stem}.")
            if leftover.name == f"{stem}.{number}.tmp" and number.isdigit():
                leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path` atomically; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON to `path` atomically; see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
