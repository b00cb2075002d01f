"""Paths that callers from Python and files give, which may be anything."""

import os
import stat
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError


def as_path(value: Any, argument: str, takes: str) -> Path:
    """`value` as a path.

    Args:
        value: a text or a path.
        argument: what it is called, for the message.
        takes: what it stands for, for the message.

    Raises:
        InputError: it is neither, or holds the character 0.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes) or "\0" in str(value):
        raise InputError(f"{argument}: got {value!r:.80}; takes {takes}")
    return Path(value)


def real_path(path: Path) -> Path:
    """The path without links, as far as they lead somewhere.

    `Path.resolve` raises a RuntimeError for a link that leads to itself.
    """
    return Path(os.path.realpath(path))


def unusual(path: Path | str) -> str | None:
    """What a path leads to that is neither a file nor a folder, nor nothing; else None.

    Whoever opens a named pipe waits for its other end, and a device may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
