"""The folder of a training: who may write there, and in which order."""

from pathlib import Path
from typing import Any

from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import remove_leftovers
from softgate_ext.files.folders import check_folder, make_folder
from softgate_ext.files.lock import FolderLock
from softgate_ext.files.tensors import save_tensors
from softgate_ext.runs import checkpoint, places
from softgate_ext.runs.log import Entry, append_entry, read_log, rewind_log
from softgate_ext.runs.run_config import RunConfig


class RunFolder:
    """A run on the disk, while it is trained: `open`, `claim`, then `keep` for each epoch.

    Args:
        path: the folder, which `claim` makes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FolderLock | None = None
        self._configured = False

    def open(self, resume: bool) -> tuple[RunConfig | None, dict[str, Any] | None]:
        """Configuration and state of the run to resume, None for a new one; writes nothing.

        Raises:
            InputError: another process trains here, or there is no run to resume, or there is one
                and it would be overwritten.
        """
        check_folder(self.path)
        if self.path.is_dir():
            self._lock = FolderLock(self.path)
        if not resume:
            self._refuse_a_run()
            return None, None
        stored = checkpoint.load_config(self.path)
        state = checkpoint.load_state(self.path)
        read_log(self.path / places.LOG)
        return stored, state

    def claim(self, epoch: int) -> list[Entry]:
        """Makes the folder this training's own; returns the log of the `epoch` epochs done.

        Raises:
            InputError: another process was quicker, or nothing can be written there.
        """
        make_folder(self.path)
        if self._lock is None:
            self._lock = FolderLock(self.path)
            self._refuse_a_run()
        remove_leftovers(self.path, places.FILES)
        return rewind_log(self.path / places.LOG, epoch)

    def keep(
        self,
        run: RunConfig,
        entry: Entry,
        weights: dict[str, Tensor],
        best: bool,
        state: dict[str, Any],
    ) -> None:
        """Writes what an epoch gave; the order makes every moment one to resume from.

        Args:
            run: what the weights are.
            entry: the epoch in the log.
            weights: the network to use.
            best: whether no epoch before gave a higher figure.
            state: all that a resume needs.
        """
        if not self._configured:  # not earlier: until then the folder holds what it held before
            checkpoint.save_config(self.path, run)
            self._configured = True
        about = {"epoch": entry["epoch"], "watched": entry["watched"]}
        save_tensors(self.path / places.WEIGHTS["last"], weights, about)
        if best:
            save_tensors(self.path / places.WEIGHTS["best"], weights, about)
        # The log may run ahead of the state, never behind: resuming drops the surplus lines.
        append_entry(self.path / places.LOG, entry)
        checkpoint.save_state(self.path, state)

    def release(self) -> None:
        """Lets others use the folder."""
        if self._lock is not None:
            self._lock.release()

    def _refuse_a_run(self) -> None:
        """Raises InputError where the folder holds what a training made, whole or not."""
        out = self.path
        if (out / places.STATE).exists():
            raise InputError(
                f"out: {out} holds a run already; add --resume to continue it, or give another "
                "folder"
            )
        for name in places.WEIGHTS.values():
            if (out / name).exists():
                raise InputError(
                    f"out: {out} holds weights ({name}) but no {places.STATE} to resume from; "
                    "give another folder"
                )
        if read_log(out / places.LOG):
            raise InputError(
                f"out: {out} holds the log of a run ({places.LOG}); give another folder"
            )
