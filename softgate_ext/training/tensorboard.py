"""The log of a run as event files for TensorBoard."""

from pathlib import Path

from softgate_ext.errors import InputError
from softgate_ext.runs.log import Entry


class Board:
    """Writes the scalars of each epoch into a folder of event files.

    Args:
        folder: the folder, which may hold event files of earlier parts of the run.
        epoch: number of complete epochs. TensorBoard drops what an interrupted process logged after
            them.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, epoch: int = 0) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder, purge_step=epoch + 1)  # type: ignore[no-untyped-call]

    def write(self, entry: Entry) -> None:
        """Adds the scalars of an epoch and flushes them to the disk."""
        values = {
            "train/loss": entry["loss"],
            "train/lr": entry["lr"],
            "train/skipped steps": entry["skipped"],
            "speed/images per second": entry["images_per_second"],
            "speed/wait per step, ms": 1000 * entry["wait_per_step"],
        }
        if (found := entry["watched"]) is not None:
            metric, others = found["metric"], ("metric", "main", "per_joint", "calibration")
            values |= {f"{metric}/{k}": v for k, v in found.items() if k not in others}
            values |= {f"{metric} by joint/{k}": v for k, v in found["per_joint"].items()}
        for name, value in values.items():
            if value is not None:  # no watched sample has this joint, or is of this size
                self._writer.add_scalar(name, value, entry["epoch"])  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends the writer's thread."""
        self._writer.close()  # type: ignore[no-untyped-call]


def require_tensorboard() -> None:
    """Raises InputError unless TensorBoard is installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise InputError(
            "tensorboard: it is not installed; pip install 'softgate_ext[tensorboard]', or leave "
            "the option out"
        ) from None
