"""Reading of MATLAB files, whose fields may be missing, empty or wrapped in cells."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from softgate_ext.data.mat_unfolding import check_mat
from softgate_ext.errors import InputError, reason


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Reads the variables of a MATLAB file (versions 4 to 7.2), or only those with the given names.

    Raises:
        NotImplementedError: the file is of version 7.3, which is HDF5.
        Exception: the file is damaged, is a bomb, or is of another kind. scipy raises a dozen types.
    """
    check_mat(path)
    contents = scipy.io.loadmat(path, variable_names=names or None)
    return {name: value for name, value in contents.items() if not name.startswith("__")}


def load_variable(path: Path, name: str) -> npt.NDArray[Any]:
    """Reads the variable `name` of a MATLAB file (versions 4 to 7.2).

    Raises:
        InputError: the file does not exist, cannot be read, or has no such variable.
    """
    if not path.is_file():
        raise InputError(f"dataset file {path} does not exist; it must hold {name}")
    try:
        contents = read_mat(path, name)
    except NotImplementedError:
        raise InputError(
            f"{path} is not a readable MATLAB file (version 7.3, which is HDF5); save it with -v7"
        ) from None
    except Exception as error:
        raise InputError(f"{path} is not a readable MATLAB file ({reason(error)})") from None
    if name not in contents:
        raise InputError(f"{path} must hold a variable named {name} and has none")
    return np.asarray(contents[name])


def structs(value: Any) -> npt.NDArray[Any]:
    """The elements (N,) of a struct array or of a cell array of structs; none for `[]`."""
    array = np.asarray(value)
    if array.dtype.names:
        return array.ravel()
    held = array.ravel() if array.dtype == object else ()
    cells = [structs(cell) for cell in held if isinstance(cell, np.ndarray | np.void)]
    return np.array([struct for cell in cells for struct in cell] + [None], object)[:-1]


def field(struct: Any, name: str) -> npt.NDArray[Any]:
    """A field of a struct; an empty array if the struct has no such field."""
    return np.asarray(struct[name]) if name in (struct.dtype.names or ()) else np.empty(0)


def number(struct: Any, name: str) -> float:
    """The number in a field; NaN if the field is missing or empty, or is not a number."""
    try:
        return float(_uncelled(struct, name)[0])
    except (IndexError, TypeError, ValueError):
        return float("nan")


def text(struct: Any, name: str) -> str:
    """The text in a field; an empty text if the field is missing or is not a text."""
    value = _uncelled(struct, name)
    return str(value[0]) if value.size and value.dtype.kind in "US" else ""


def _uncelled(struct: Any, name: str) -> npt.NDArray[Any]:
    value = field(struct, name)
    while value.dtype == object and value.size == 1:  # wrapped in a cell
        value = np.asarray(value.item())
    return value.ravel()
