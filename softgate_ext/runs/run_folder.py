"""The folder of a run during its training: its lock, and the order in which files are written."""

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
    """The folder of a run during its training. Call `open`, `claim`, and then `keep` for each epoch.

    Args:
        path: the folder, which `claim` creates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FolderLock | None = None
        self._configured = False

    def open(self, resume: bool) -> tuple[RunConfig | None, dict[str, Any] | None]:
        """Checks the folder and reads the run to resume, without writing anything.

        Returns:
            Configuration and training state of the run; None and None for a new run.

        Raises:
            InputError: another process trains in the folder; there is no run to resume; or a new run
                would overwrite an existing one.
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
        """Creates and locks the folder, and removes leftovers of killed processes.

        Args:
            epoch: number of complete epochs.

        Returns:
            The log of these epochs.

        Raises:
            InputError: another process has taken the folder meanwhile, or it cannot be written to.
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
        """Writes the results of an epoch, in an order that allows a resume at every moment.

        Args:
            run: the configuration of the run.
            entry: the log entry of the epoch.
            weights: the state_dict of the network to use.
            best: whether the score is higher than in all epochs before.
            state: the training state.
        """
        if not self._configured:  # until the first epoch ends, an earlier configuration stays
            checkpoint.save_config(self.path, run)
            self._configured = True
        about = {"epoch": entry["epoch"], "watched": entry["watched"]}
        save_tensors(self.path / places.WEIGHTS["last"], weights, about)
        if best:
            save_tensors(self.path / places.WEIGHTS["best"], weights, about)
        # The log is written before the state, because a resume can drop surplus lines.
        append_entry(self.path / places.LOG, entry)
        checkpoint.save_state(self.path, state)

    def release(self) -> None:
        """Releases the lock of the folder."""
        if self._lock is not None:
            self._lock.release()

    def _refuse_a_run(self) -> None:
        """Raises InputError if the folder holds a run, complete or not."""
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
