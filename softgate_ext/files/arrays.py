"""Arrays in files that may be damaged or hostile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.files.paths import unusual


def npz_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Any]:
    """The plain arrays of an .npz file whose names are wanted; others may be pickled objects.

    Raises:
        Exception: The file is damaged or another: numpy, zipfile and zlib raise a dozen types.
    """
    if what := unusual(path):
        raise ValueError(f"it is {what}")
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":
            raise ValueError("it is no .npz file")
    with np.load(path, allow_pickle=False) as store:
        if not isinstance(store, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        return {name: store[name] for name in store.files if wanted(name)}
