"""Reading of .npz files that may be damaged or hostile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.files.paths import unusual
from softgate_ext.files.unfolding import check_unfolding, check_zip, stored_size


def npz_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Any]:
    """Reads the arrays of an .npz file whose names are wanted. Other arrays may be pickled objects.

    Args:
        path: the file.
        wanted: whether to read the array of a name.

    Raises:
        Exception: the file is damaged, is a zip bomb, or holds something else. NumPy, zipfile and zlib
            raise a dozen types.
    """
    if what := unusual(path):
        raise ValueError(f"it is {what}")
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":
            raise ValueError("it is not an .npz file")
    check_zip(path)
    with np.load(path, allow_pickle=False) as store:
        if not isinstance(store, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        arrays = {name: store[name] for name in store.files if wanted(name)}
    # Elements of zero bytes, such as empty texts, take no space in a file, however many there are.
    empty = sum(array.size for array in arrays.values() if not array.dtype.itemsize)
    check_unfolding("zip", empty, stored_size(path))
    return arrays
