"""Paths that callers from Python give, which may be anything."""

import os
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
        InputError: it is neither.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes):
        raise InputError(f"{argument}: got {value!r:.80}; takes {takes}")
    return Path(value)
