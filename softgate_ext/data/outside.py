"""Paths that annotation files name stay inside their dataset, unless somebody says otherwise."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from softgate_ext.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

# Not an argument of the readers, which are of seven formats and read one another.
_allowed = ContextVar("outside of a dataset is allowed", default=False)


@contextmanager
def outside(allowed: bool) -> Iterator[None]:
    """A block in which annotation files may name what lies outside of their dataset.

    Args:
        allowed: whether they may; within another such block that allows it, they may all the same.
    """
    token = _allowed.set(allowed or _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(token)


def outside_as_told(
    command: Callable[Concatenate[C, P], T],
) -> Callable[Concatenate[C, P], T]:
    """A command that reads datasets as the `allow_outside` of its configuration says."""

    @wraps(command)
    def run(config: C, *arguments: P.args, **options: P.kwargs) -> T:
        told: Any = config
        with outside(told.allow_outside):
            return command(config, *arguments, **options)

    return run


def outside_allowed() -> bool:
    """Whether annotation files may name what lies outside of their dataset."""
    return _allowed.get()


def is_outside(path: Path, folder: Path) -> bool:
    """Whether a path leads out of a folder by its words; links in it are its owner's."""
    return not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def check_inside(path: Path, dataset: Path, name: str) -> None:
    """Raises InputError where a path leads out of the dataset and that is not allowed.

    Args:
        path: where an annotation file leads.
        dataset: the dataset's folder.
        name: what the file says, for the message.
    """
    if not outside_allowed() and is_outside(path, dataset):
        raise InputError(
            f"{name:.500} lies outside of the dataset {dataset}; takes names inside of it, or "
            "give --allow-outside"
        )
