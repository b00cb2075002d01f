"""The rule that annotation files name only paths inside their dataset, unless a user allows others."""

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

# A context variable and not an argument, because readers of seven formats call one another.
_allowed = ContextVar("outside of a dataset is allowed", default=False)


@contextmanager
def outside(allowed: bool) -> Iterator[None]:
    """A block in which annotation files may name paths outside of their dataset.

    Args:
        allowed: whether they may. False does not change an outer block that allows it.
    """
    token = _allowed.set(allowed or _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(token)


def outside_as_told(
    command: Callable[Concatenate[C, P], T],
) -> Callable[Concatenate[C, P], T]:
    """Decorates a command so that the `allow_outside` of its configuration holds while it runs."""

    @wraps(command)
    def run(config: C, *arguments: P.args, **options: P.kwargs) -> T:
        told: Any = config
        with outside(told.allow_outside):
            return command(config, *arguments, **options)

    return run


def outside_allowed() -> bool:
    """Whether annotation files may now name paths outside of their dataset."""
    return _allowed.get()


def is_outside(path: Path, folder: Path) -> bool:
    """Whether a path leads out of a folder by its names; links are not followed."""
    return not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def check_inside(path: Path, dataset: Path, name: str) -> None:
    """Raises InputError if a path leads out of the dataset and that is not allowed.

    Args:
        path: the path that an annotation file names.
        dataset: the dataset's folder.
        name: the name in the annotation file, for the message.
    """
    if not outside_allowed() and is_outside(path, dataset):
        raise InputError(
            f"{name:.500} lies outside of the dataset {dataset}; takes names inside of it, or "
            "give --allow-outside"
        )
