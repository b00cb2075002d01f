"""A folder that one process works in."""

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
    """Keeps other processes from working in a folder; ends with `release` or with the process.

    The lock is on the folder itself: a lock file, as the package filelock keeps one, would stay in
    the folder, and be written there before a command is refused. File systems that cannot lock a
    folder (some network ones, and those of Windows) go without. A forked child has no part in it.

    Args:
        folder: the folder.
        argument: where it was named, for the message.
        wait: wait for the other process in place of raising.

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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks_wait.acquire,
        after_in_parent=_forks_wait.release,
        after_in_child=_leave_locks,
    )
