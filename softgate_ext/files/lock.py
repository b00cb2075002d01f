"""A lock that lets one process at a time work in a folder."""

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from softgate_ext.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Locks a folder against other processes, until `release` is called or the process ends.

    The lock is on the folder itself. A lock file, such as that of the package filelock, would stay in
    the folder, and would be written before a command is refused. On file systems that cannot lock a
    folder (some network file systems, and those of Windows) there is no lock. A forked child does not
    hold the lock.

    Args:
        folder: the folder.
        argument: name of the argument that gave it, for the message.
        wait: whether to wait for the other process instead of raising.

    Raises:
        InputError: another process works in the folder.
    """

    release: "weakref.finalize[..., FolderLock]"

    def __init__(self, folder: Path, argument: str = "out", wait: bool = False) -> None:
        if fcntl is None:
            self.release = weakref.finalize(self, _unlock, None)
            return
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


def _unlock(descriptor: int | None) -> None:
    if descriptor is None:
        return
    # Closing alone is not enough: a child that was not forked by Python may hold the descriptor too.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _leave_locks() -> None:
    """Closes the locks of the parent in a forked child, which would otherwise keep them held."""
    for lock in list(_held):
        ended = lock.release.detach()
        if ended is not None:
            os.close(ended[2][0])
    _forks_wait.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks_wait.acquire,
        after_in_parent=_forks_wait.release,
        after_in_child=_leave_locks,
    )
