"""Checks that folders and files can be written, made before the work starts."""

import errno
import os
import stat
from pathlib import Path

from softgate_ext.errors import InputError
from softgate_ext.files.paths import real_path, unusual


def make_folder(folder: Path, argument: str = "out") -> Path:
    """Creates `folder` and its parents and checks that files can be written there.

    Args:
        folder: the folder.
        argument: name of the argument that gave it, for the message.

    Returns:
        The folder.

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
    """Checks that `make_folder` could create `folder`, without creating anything.

    Raises:
        InputError: as `make_folder`.
    """
    try:
        # `lexists` is also true for a broken link and for a link to itself.
        places = (folder, *folder.parents)
        existing = next((path for path in places if os.path.lexists(path)), folder)
        if not stat.S_ISDIR(existing.stat().st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(folder, argument, error) from error


def check_outside(out: Path, data: Path) -> None:
    """Raises InputError if `out` is the folder `data` of a dataset, or inside it.

    No file is added to the folder of a dataset. If `data` is a file, its folder is not checked, because
    it may hold anything.
    """
    if data.is_dir() and real_path(out).is_relative_to(real_path(data)):
        raise InputError(
            f"out: got {out}, which lies inside the dataset {data}; takes a folder elsewhere"
        )


def check_targets(**paths: Path | None) -> None:
    """Checks that files can be written to `paths`.

    Args:
        paths: the paths by the names of their arguments; None is skipped.

    Raises:
        InputError: a path cannot be written to, or two are the same.
    """
    taken: dict[Path, str] = {}
    for argument, path in paths.items():
        if path is None:
            continue
        if path.is_dir() or unusual(path) or not path.parent.is_dir():
            raise InputError(f"{argument}: got {path}; takes a file in a folder that exists")
        if not os.access(path.parent, os.W_OK):
            raise InputError(
                f"{argument}: got {path}; takes a file in a folder that can be written to"
            )
        other = taken.setdefault(real_path(path), argument)
        if other != argument:
            raise InputError(f"{argument}: got {path}, which {other} names too; takes another file")


def _unwritable(folder: Path, argument: str, error: OSError) -> InputError:
    return InputError(
        f"{argument}: cannot write to the folder {folder} ({error.strerror}); "
        "give a folder that can be created and written to"
    )
