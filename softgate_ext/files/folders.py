"""Whether folders and files can be written to, before work is done."""

import errno
import os
import stat
from pathlib import Path

from softgate_ext.errors import InputError
from softgate_ext.files.paths import real_path, unusual


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
        # A link that leads nowhere, or to itself, is there too.
        places = (folder, *folder.parents)
        existing = next((path for path in places if os.path.lexists(path)), folder)
        if not stat.S_ISDIR(existing.stat().st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(folder, argument, error) from error


def check_outside(out: Path, data: Path) -> None:
    """Raises InputError where `out` is, or lies in, the folder `data` of a dataset.

    A dataset stays what its release unpacked to. Where `data` is a file, its folder may be anybody's.
    """
    if data.is_dir() and real_path(out).is_relative_to(real_path(data)):
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
