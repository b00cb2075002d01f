"""Files that are there complete or not at all."""

import errno
import fcntl
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from softgate_ext.errors import InputError


def make_folder(folder: Path, argument: str = "out") -> Path:
    """Creates `folder` and its parents and makes sure that files can be written there.

    Raises:
        InputError: `folder` is a file, or cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, argument, error) from error
    return folder


def check_folder(folder: Path, argument: str = "out") -> None:
    """Looks whether `make_folder` could create `folder`, and creates nothing.

    Raises:
        InputError: as `make_folder`.
    """
    try:
        existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        if not existing.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(folder, argument, error) from error


def check_outside(out: Path, data: Path) -> None:
    """Raises InputError where `out` is, or lies in, the folder `data` of a dataset.

    A dataset stays what its release unpacked to. Where `data` is a file, its folder may be anybody's.
    """
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise InputError(
            f"out: got {out}, which lies inside the dataset {data}; takes a folder elsewhere"
        )


def check_targets(**paths: Path | None) -> None:
    """Looks whether files can be written to `paths`, each by the name of its argument.

    Raises:
        InputError: one cannot be, or two are the same.
    """
    taken: dict[Path, str] = {}
    for argument, path in paths.items():
        if path is None:
            continue
        _check_target(argument, path)
        other = taken.setdefault(path.resolve(), argument)
        if other != argument:
            raise InputError(f"{argument}: got {path}, as {other} did; takes a file of its own")


def _check_target(argument: str, path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{argument}: got {path}; takes a file in a folder that exists")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{argument}: got {path}; takes a file in a folder that can be written to")


def _unwritable(folder: Path, argument: str, error: OSError) -> InputError:
    return InputError(
        f"{argument}: cannot write to the folder {folder} ({error.strerror}); "
        "give a folder that can be created and written to"
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block ends well.

    The bytes are on the disk before the name changes, so a reader, or a process that starts after
    this one was killed, sees the old file or the new one. When the block raises, `path` stays as
    it was and the temporary file is removed.

    Raises:
        InputError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); give a place that can be written to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Removes what killed processes left in `folder` while they wrote the files called `names`."""
    for name in (*names, "probe"):
        stem = "." + name
        for leftover in folder.glob(".*.tmp"):
            number = leftover.name.removesuffix(".tmp").removeprefix(f"{stem}.")
            if leftover.name == f"{stem}.{number}.tmp" and number.isdigit():
                leftover.unlink(missing_ok=True)


class FolderLock:
    """Keeps other processes from working in a folder; ends with `release` or with the process.

    The lock is on the folder itself, so it leaves no file behind. File systems that cannot lock a
    folder (some network ones) go without. A forked child has no part in it.

    Args:
        folder: the folder.
        argument: where it was named, for the message.
        wait: wait for the other process in place of raising.

    Raises:
        InputError: another process works in the folder.
    """

    def __init__(self, folder: Path, argument: str = "out", wait: bool = False) -> None:
        with _forks_wait:
            descriptor = os.open(folder, os.O_RDONLY)
            self.release = weakref.finalize(self, _unlock, descriptor)
            _held.add(self)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            self.release()
            raise InputError(
                f"{argument}: another process is training into {folder}; wait for its end, or give "
                "another folder"
            ) from None
        except OSError:
            pass


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()
_forks_wait = threading.Lock()


def _unlock(descriptor: int) -> None:
    # Not by closing alone: a child that was forked by other than Python's means holds it too.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _leave_locks() -> None:
    """In a forked child: closes the locks of its parent, which otherwise outlive the parent."""
    for lock in list(_held):
        ended = lock.release.detach()
        if ended is not None:
            os.close(ended[2][0])
    _forks_wait.release()


os.register_at_fork(
    before=_forks_wait.acquire,
    after_in_parent=_forks_wait.release,
    after_in_child=_leave_locks,
)


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON to `path`, at once."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, at once."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


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
