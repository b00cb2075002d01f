"""Reading of arrays in HDF5 files; MATLAB files of version 7.3 are HDF5 too."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.errors import InputError
from softgate_ext.files.unfolding import check_unfolding, stored_size


def require_h5py() -> Any:
    """Imports h5py.

    Raises:
        InputError: it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            "predictions: HDF5 files need h5py; install softgate_ext[hdf5], or give .npz, .json or a .mat saved "
            "with -v7"
        ) from None
    return h5py


def read_hdf5(path: Path) -> Mapping[str, Any]:
    """Reads the arrays of a file that are in no group. Cells of MATLAB are read as texts.

    Raises:
        InputError: h5py is not installed.
        Exception: the file is damaged, is a bomb, or is of another kind. h5py raises a dozen types.
    """
    h5py = require_h5py()
    with h5py.File(path, "r") as store:
        if isinstance(store.get("pred"), h5py.Group):
            raise ValueError(
                "its pred is a struct, which cannot be read from version 7.3; save it with -v7"
            )
        unfolding = _Unfolding(stored_size(path))
        # Links to other files are ignored: an input must not make us open other files.
        own = [name for name in store if isinstance(store.get(name, getlink=True), h5py.HardLink)]
        arrays = {
            name: unfolding.read(item)
            for name in own
            if isinstance(item := store[name], h5py.Dataset)
        }
        for name, value in arrays.items():
            # An array of cells; each cell holds the characters of a name.
            if h5py.check_ref_dtype(store[name].dtype) is h5py.Reference:
                cells = [unfolding.read(store[cell]).ravel().tolist() for cell in value.ravel()]
                arrays[name] = np.array(["".join(map(chr, cell)) for cell in cells], object)
        return arrays


class _Unfolding:
    """Reads the datasets of a file, and checks that their sizes are not those of a bomb.

    Args:
        size: size of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size, self._stored, self._unfolded = size, 0, 0

    def read(self, dataset: Any) -> Any:
        """The values of a dataset.

        Raises:
            ValueError: the dataset is a bomb, or its values are in another file.
        """
        if dataset.external or dataset.is_virtual:
            raise ValueError(f"the values of {dataset.name} are in another file")
        # A chunk is unpacked as a whole, even if the dataset uses little of it.
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        self._unfolded += max(dataset.nbytes, chunk)
        self._stored += dataset.id.get_storage_size()
        check_unfolding("HDF5", self._unfolded, min(self._stored, self._size))
        return dataset[()]
