"""Readers of the files that joints are exchanged in: MATLAB, HDF5, NumPy and JSON."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from softgate_ext.data.matfile import structs
from softgate_ext.data.mpii import AnnotatedPerson
from softgate_ext.data.mpii_submission import read_submission
from softgate_ext.errors import InputError, reason
from softgate_ext.evaluation.joint_identity import Identity, identities_of, identity_of, words_of
from softgate_ext.files.arrays import npz_arrays
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import MPII

NAMES = ("preds", "pred", "predictions", "joints", "keypoints")


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        arrays: By name; the joints of all people are in one of them.
        origin: Coordinate of the first pixel as the file has it; None where it does not say.
        joints: Names of the joints, in the order of the arrays; None where it does not say.
        who: What it says of whom each person is; empty where it says nothing, so that order counts.
        by_person: Whether the file is a list of people rather than of arrays.
    """

    arrays: Mapping[str, Any]
    origin: Any = None
    joints: tuple[str, ...] | None = None
    who: tuple[Identity, ...] = ()
    by_person: bool = False


def read_contents(path: Path) -> Contents:
    """What a .mat, .h5, .npz or .json file holds.

    Raises:
        InputError: The file cannot be read, or is JSON of something else.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _read_json(path)
    try:
        arrays = dict(_READERS[suffix](path))
        names = arrays.pop("joint_names", None)
        joints = None if names is None else tuple(map(str, words_of(names)))
        who = identities_of(arrays)
    except InputError:
        raise
    except Exception as error:  # the readers raise a dozen unrelated types for damaged files
        raise InputError(
            f"predictions: cannot read {path} ({reason(error)}); give a complete file"
        ) from None
    pred = np.asarray(arrays.get("pred", ()))
    if len(structs(pred)):
        return _submission(read_submission(pred, path), arrays.get("origin"))
    return Contents(arrays, arrays.pop("origin", None), joints, who)


def _submission(people: Sequence[AnnotatedPerson], origin: Any) -> Contents:
    joints = [np.where(one.labelled[:, None], one.joints + 1, math.nan) for one in people]
    return Contents(
        {"pred": np.array(joints)},
        origin,
        MPII.joints,
        tuple(Identity(name=one.image, place=one.place[1]) for one in people),
        by_person=True,
    )


def _read_mat(path: Path) -> Mapping[str, Any]:
    try:
        contents = scipy.io.loadmat(path)
    except NotImplementedError:
        return _read_h5(path)  # version 7.3 is HDF5
    return {name: value for name, value in contents.items() if not name.startswith("__")}


def _read_h5(path: Path) -> Mapping[str, Any]:
    h5py = require_h5py()
    with h5py.File(path, "r") as store:
        if isinstance(store.get("pred"), h5py.Group):
            raise ValueError("pred is a struct in version 7.3, which -v7 saves readably")
        arrays = {k: v[()] for k, v in store.items() if isinstance(v, h5py.Dataset)}
        for name, value in arrays.items():
            if (
                h5py.check_ref_dtype(store[name].dtype) is h5py.Reference
            ):  # cells, each with the letters of a name
                cells = [store[cell][()].ravel().tolist() for cell in value.ravel()]
                arrays[name] = np.array(["".join(map(chr, cell)) for cell in cells], object)
        return arrays


def require_h5py() -> Any:
    """The module h5py.

    Raises:
        InputError: It is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            "predictions: HDF5 files need h5py; install softgate_ext[hdf5], or give .npz, .json or a .mat saved "
            "with -v7"
        ) from None
    return h5py


def _read_json(path: Path) -> Contents:
    """A list of people, or an object that holds one. A person is their joints or an object with
    them: flat (as COCO's results are), in pairs or triples, or by name; null is a joint that was
    not found. `softgate predict` writes people by picture and joints by name."""
    value = read_json(path, "predictions")
    holder = value if isinstance(value, dict) else {"predictions": value}
    # "images" last: elsewhere these are beside the people.
    lists = ("predictions", "people", *NAMES, "images")
    try:
        key = next(name for name in lists if name in holder)
        crowds = [_crowd(entry) for entry in holder[key]]
        people = [_joints_of(person) for _, crowd in crowds for person in crowd]
        names = _names(holder, people)
        array = np.array([_numbers(person, names) for person in people], np.float64)
        beside = {name: value for name, value in holder.items() if name != key}
        who = tuple(_identity(person, whole) for whole, crowd in crowds for person in crowd)
        if not any(one.known for one in who):
            who = identities_of(beside) or who
        arrays = {"predictions": array, **_scores(crowds)}
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, StopIteration):
        raise InputError(
            f'predictions: {path} must hold a list of {{"joints": [[x, y], ...]}}, one a person'
        ) from None
    return Contents(arrays, holder.get("origin"), names, who, True)


def _crowd(entry: Any) -> tuple[Any, list[Any]]:
    """A picture and its people, or None and the one person that an entry is."""
    if isinstance(entry, dict) and "people" in entry:
        return entry, entry["people"]
    return None, [entry]


def _identity(person: Any, whole: Any) -> Identity:
    return identity_of(person if isinstance(person, dict) else {}, whole)


def _scores(crowds: Iterable[tuple[Any, list[Any]]]) -> dict[str, Any]:
    """The scores of the joints, where every person has a list of them."""
    people = [person for _, crowd in crowds for person in crowd]
    if not all(isinstance(person, dict) and "scores" in person for person in people):
        return {}
    return {"scores": np.array([person["scores"] for person in people])}


def _joints_of(person: Any) -> Any:
    if not isinstance(person, dict):
        return person
    return next(person[name] for name in NAMES if name in person)


def _names(holder: Mapping[str, Any], people: Iterable[Any]) -> tuple[str, ...] | None:
    """Names of the joints: those that anybody has, or `joint_names`."""
    own = dict.fromkeys(name for person in people if isinstance(person, dict) for name in person)
    names = tuple(own) or holder.get("joint_names")
    return None if names is None else tuple(map(str, names))


def _numbers(person: Any, names: Iterable[str] | None) -> list[Any]:
    """The joints of one person, all of them flat numbers or all lists of one length."""
    if isinstance(person, dict):
        by_name = (person.get(name) for name in names or ())
        person = [
            None if joint is None else [joint["x"], joint["y"], joint.get("score")]
            for joint in by_name
        ]
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
    ".npz": npz_arrays,
}
