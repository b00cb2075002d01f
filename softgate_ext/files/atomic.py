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
    with replacing_together(path) as (temporary,):
        yield temporary


@contextmanager
def replacing_together(*paths: Path) -> Iterator[list[Path]]:
    """As `replacing`, of files that belong together: all of them are replaced, or none is.

    Only a process that is killed between two changes of names leaves old files beside new ones.
    """
    for path in paths:
        if what := unusual(path):
            raise InputError(f"cannot write {path}, which is {what}; give a file")
    temporaries = [_beside(path) for path in paths]
    earlier = [_beside(path, ".earlier") for path in paths]
    try:
        yield temporaries
        for temporary in temporaries:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        for path, kept in zip(paths[:-1], earlier, strict=False):  # after the last none can fail
            with suppress(FileNotFoundError):
                os.link(path, kept)
        for number, (temporary, path) in enumerate(zip(temporaries, paths, strict=True)):
            try:
                os.replace(temporary, path)
            except OSError:
                for done, kept in zip(paths[:number], earlier, strict=False):
                    _put_back(done, kept)
                raise
    except OSError as error:
        names = " and ".join(map(str, paths))
        raise InputError(
            f"cannot write {names} ({error.strerror or error}); give a place that can be written to"
        ) from error
    finally:
        for leftover in (*temporaries, *earlier):
            with suppress(OSError):
                leftover.unlink()


def _beside(path: Path, mark: str = "") -> Path:
    return path.with_name(f".{path.name}{mark}.{os.getpid()}.tmp")


def _put_back(path: Path, kept: Path) -> None:
    with suppress(OSError):
        if kept.exists():
            os.rename(kept, path)
        else:
            path.unlink()


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
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """`value` as the text of a file that people read too."""
    return json.dumps(value, indent=2) + "\n"


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
