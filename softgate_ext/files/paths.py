"""Checks of paths that callers and files give, and that may be anything."""

import os
import stat
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError


def as_path(value: Any, argument: str, takes: str) -> Path:
    """`value` as a path.

    Args:
        value: a text or a path.
        argument: name of the argument, for the message.
        takes: what the argument takes, for the message.

    Raises:
        InputError: `value` is neither, or contains the null character.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes) or "\0" in str(value):
        raise InputError(f"{argument}: got {value!r:.80}; takes {takes}")
    return Path(value)


def real_path(path: Path) -> Path:
    """The path with its links resolved, as far as possible.

    `Path.resolve` is not used, because it raises a RuntimeError for a link to itself.
    """
    return Path(os.path.realpath(path))


def unusual(path: Path | str) -> str | None:
    """The text "a named pipe", "a socket" or "a device" if the path is one, else None.

    Opening a named pipe waits for the other end, and reading a device may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # opening the path will give the error
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
