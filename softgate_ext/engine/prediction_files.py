"""Readers of the files that joints are exchanged in: MATLAB, HDF5, NumPy and JSON."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from softgate_ext.engine.files import read_json
from softgate_ext.errors import InputError, reason
from softgate_ext.pose.skeleton import Skeleton

NAMES = ("preds", "pred", "predictions", "joints", "keypoints")


def read_contents(path: Path, skeleton: Skeleton) -> Mapping[str, Any]:
    """Arrays by name, one of which holds the joints of all people, and `origin` where it is told.

    Args:
        path: .mat, .h5, .npz or .json.
        skeleton: Order of the joints, for files that have them by name.

    Raises:
        InputError: The file cannot be read, or is JSON of something else.
    """
    suffix = path.suffix.lower()
    return _read_json(path, skeleton) if suffix == ".json" else _READERS[suffix](path)


def _read_mat(path: Path) -> Mapping[str, Any]:
    try:
        contents = scipy.io.loadmat(path)
    except NotImplementedError:
        return _read_h5(path)  # version 7.3 is HDF5
    except Exception as error:  # scipy raises a dozen unrelated types for damaged files
        raise _unreadable(path, error) from None
    return {name: value for name, value in contents.items() if not name.startswith("__")}


def _read_h5(path: Path) -> Mapping[str, Any]:
    h5py = require_h5py()
    try:
        with h5py.File(path, "r") as store:
            return {k: v[()] for k, v in store.items() if isinstance(v, h5py.Dataset)}
    except Exception as error:
        raise _unreadable(path, error) from None


def require_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError(
            "predictions: HDF5 files need h5py; install softgate_ext[hdf5], or give .npz, .json or a .mat saved "
            "with -v7"
        ) from None
    return h5py


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as stream:
            if stream.read(2) != b"PK":
                raise ValueError("it is no .npz file")
        with np.load(path, allow_pickle=False) as store:
            if not isinstance(store, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return dict(store)
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"predictions: cannot read {path} ({reason(error)}); give a complete file")


def _read_json(path: Path, skeleton: Skeleton) -> Mapping[str, Any]:
    """A list of people, or an object that holds one. A person is their joints or an object with
    them: flat (as COCO's results are), in pairs or triples, or by name; null is a joint that was
    not found. `softgate predict` writes people by picture and joints by name."""
    value = read_json(path, "predictions")
    contents = value if isinstance(value, dict) else {"predictions": value}
    # "images" last: elsewhere these are beside the people.
    lists = ("predictions", "people", *NAMES, "images")
    people = next((contents[name] for name in lists if name in contents), None)
    try:
        array = np.array([_joints(one, skeleton) for one in _people(people)], np.float64)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise InputError(
            f'predictions: {path} must hold a list of {{"joints": [[x, y], ...]}}, one a person'
        ) from None
    return {
        "predictions": array,
        **({"origin": contents["origin"]} if "origin" in contents else {}),
    }


def _people(entries: Any) -> Iterator[Any]:
    """Every person; an entry may be a picture with people."""
    for entry in entries:
        if isinstance(entry, dict) and "people" in entry:
            yield from entry["people"]
        else:
            yield entry


def _joints(person: Any, skeleton: Skeleton) -> list[Any]:
    """The joints of one person, all of them flat numbers or all lists of one length."""
    if isinstance(person, dict):
        person = next((person[name] for name in NAMES if name in person), None)
    if isinstance(person, dict):
        named = (person.get(name) for name in skeleton.joints)
        person = [None if joint is None else [joint["x"], joint["y"]] for joint in named]
    found = [[math.nan] if joint is None else joint for joint in person]
    width = max((len(joint) for joint in found if isinstance(joint, list)), default=0)
    if width <= 1:
        return [joint[0] if isinstance(joint, list) else joint for joint in found]
    return [
        [math.nan if v is None else v for v in joint] + [math.nan] * (width - len(joint))
        for joint in found
    ]


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".mat": _read_mat,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".npz": _read_npz,
}
