"""JSON and arrays that may be damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.errors import InputError


def read_json(path: Path, argument: str | None = None) -> Any:
    """The value stored as JSON in `path`.

    Args:
        path: the file.
        argument: where it was named, for the message.

    Raises:
        InputError: the file is missing, unreadable, or not JSON.
    """
    where = "" if argument is None else f"{argument}: "
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{where}cannot read {path} ({error.strerror}); give a JSON file"
        ) from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error


def npz_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Any]:
    """The plain arrays of an .npz file whose names are wanted; others may be pickled objects.

    Raises:
        Exception: The file is damaged or another: numpy, zipfile and zlib raise a dozen types.
    """
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":
            raise ValueError("it is no .npz file")
    with np.load(path, allow_pickle=False) as store:
        if not isinstance(store, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        return {name: store[name] for name in store.files if wanted(name)}
