"""Joints of other programs and of our own, in the files that people exchange them in.

Arrays of (N, J, 2 or 3), a third value being a score, in any order of axes: MATLAB and Lua write
them transposed. People are those of the dataset, in its order. Coordinates are 1-based in .mat
and .h5 files, as in MPII's own and the toolboxes around it, and 0-based in .npz and JSON, unless
the file says otherwise by a number called `origin`, or the caller does.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from softgate_ext.engine.files import read_json, replacing, write_json
from softgate_ext.errors import InputError, reason
from softgate_ext.pose.skeleton import Skeleton

NAMES = ("preds", "pred", "predictions", "joints", "keypoints")
ORIGINS = {".mat": 1, ".h5": 1, ".hdf5": 1, ".npz": 0, ".json": 0}

Floats = npt.NDArray[np.float64]


def read_predictions(
    path: Path, people: int, skeleton: Skeleton, origin: int | None = None
) -> tuple[Floats, int]:
    """Joints (N, J, 2), 0-based pixels, and the origin that the file was taken to have.

    A joint that is missing or not a number is NaN.

    Args:
        path: .mat, .h5, .npz or .json.
        people: N that it must hold.
        skeleton: Its J joints, in this order.
        origin: Coordinate of the first pixel, or None to go by the file.

    Raises:
        InputError: The file cannot be read or does not hold N people with J joints.
    """
    suffix = _suffix(path, "predictions")
    if not path.is_file():
        raise InputError(
            f"predictions: there is no file {path}; takes one ending in {', '.join(ORIGINS)}"
        )
    contents = _read_json(path, skeleton) if suffix == ".json" else _READERS[suffix](path)
    array = _fitting(path, contents, people, len(skeleton))
    if origin is None:
        stored = np.asarray(contents.get("origin", ORIGINS[suffix])).ravel()
        if stored.size != 1 or stored[0] not in (0, 1):
            raise InputError(f"predictions: origin in {path} must be 0 or 1, got {stored.tolist()}")
        origin = int(stored[0])
    return array[..., :2] - origin, origin


def write_predictions(
    path: Path, joints: Floats, scores: Floats, skeleton: Skeleton, images: Sequence[str]
) -> None:
    """Writes joints (N, J, 2), 0-based pixels, and scores (N, J), as `read_predictions` reads them.

    Raises:
        InputError: The suffix is none of the four, or the file cannot be written.
    """
    suffix = _suffix(path, "save_predictions")
    origin = ORIGINS[suffix]
    if suffix == ".json":
        entries = [
            {
                "image": name,
                "joints": [xy if math.isfinite(sum(xy)) else None for xy in places],
                "scores": sure,
            }
            for name, places, sure in zip(images, joints.tolist(), scores.tolist(), strict=True)
        ]
        names = list(skeleton.joints)
        write_json(path, {"origin": origin, "joint_names": names, "predictions": entries})
        return
    arrays: dict[str, Any] = {
        "preds": joints + origin,
        "scores": scores,
        "origin": np.array(origin),
    }
    with replacing(path) as temporary:
        if suffix == ".npz":
            with open(temporary, "wb") as file:
                np.savez_compressed(file, joint_names=np.array(skeleton.joints), **arrays)
        elif suffix == ".mat":
            arrays["joint_names"] = np.array(skeleton.joints, object)  # a cell array
            with open(temporary, "wb") as file:
                scipy.io.savemat(file, arrays, do_compression=True)
        else:
            with _h5py().File(temporary, "w") as store:
                for name, value in arrays.items():
                    store[name] = value


def _suffix(path: Path, argument: str) -> str:
    if path.suffix.lower() not in ORIGINS:
        raise InputError(f"{argument}: got {path}; takes a file ending in {', '.join(ORIGINS)}")
    return path.suffix.lower()


def _fitting(path: Path, contents: Mapping[str, Any], people: int, joints: int) -> Floats:
    """The array of the file that has the right shape, axes in the order people, joints, values."""
    arrays = {name: np.asarray(value) for name, value in contents.items() if name != "scores"}
    for name in (*NAMES, *arrays):
        found = arrays.get(name)
        if found is None or found.dtype.kind not in "fiu":
            continue
        if (
            found.ndim == 2
            and found.shape[0] == people
            and found.shape[1] in (2 * joints, 3 * joints)
        ):
            found = found.reshape(people, joints, -1)
        for order in itertools.permutations(range(3)) if found.ndim == 3 else ():
            turned = found.transpose(order)
            if turned.shape[:2] == (people, joints) and turned.shape[2] in (2, 3):
                return turned.astype(np.float64)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    raise InputError(
        f"predictions: {path} must hold {people} people with {joints} joints, an array of shape "
        f"({people}, {joints}, 2), got {shapes}"
    )


def _read_mat(path: Path) -> Mapping[str, Any]:
    try:
        contents = scipy.io.loadmat(path)
    except NotImplementedError:
        return _read_h5(path)  # version 7.3 is HDF5
    except Exception as error:  # scipy raises a dozen unrelated types for damaged files
        raise _unreadable(path, error) from None
    return {name: value for name, value in contents.items() if not name.startswith("__")}


def _read_h5(path: Path) -> Mapping[str, Any]:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as store:
            return {k: v[()] for k, v in store.items() if isinstance(v, h5py.Dataset)}
    except Exception as error:
        raise _unreadable(path, error) from None


def _h5py() -> Any:
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
    them: flat (as COCO's results are), in pairs or triples, or by name (as `softgate predict`
    writes them, by picture); null is a joint that was not found."""
    value = read_json(path, "predictions")
    contents = value if isinstance(value, dict) else {"predictions": value}
    people = next((contents[k] for k in ("predictions", "people", *NAMES) if k in contents), None)
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
