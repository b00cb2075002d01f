"""The progress of a training: a bar on a terminal, and a line of text per epoch."""

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from softgate_ext.files.counted import counted
from softgate_ext.runs.log import Entry


def clock(seconds: float) -> str:
    """A duration in seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe_epoch(entry: Entry, left: float) -> str:
    """A log entry as a line of text; `left` is the expected remaining time in seconds."""
    words = [f"epoch {entry['epoch']:3d}", f"loss {entry['loss']:.3e}"]
    if (found := entry["watched"]) is not None:
        pooled = "" if "AP" in found else " pooled"
        words.append(
            f"{found['metric']} {found['main']:.1f} %{pooled}, {found['mean']:.1f} % mean of joints"
        )
    words += [
        f"lr {entry['lr']:.1e}",
        f"{entry['images_per_second']:.0f} images/s",
        f"waits {1000 * entry['wait_per_step']:.1f} ms/step",
    ]
    if entry["skipped"]:
        words.append(counted(entry["skipped"], "step[s] skipped"))
    return "  ".join([*words, f"{clock(left)} left"])


class TrainingProgress:
    """A progress bar over the whole training; it shows nothing unless the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.description}"))
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=1.0)

    def running(self) -> AbstractContextManager[object]:
        """Shows the bar while the block runs."""
        return self._bar if self.console.is_terminal else nullcontext()

    def update(
        self, done: float, epoch: int, images_per_second: float, wait: float, left: float
    ) -> None:
        """Moves the bar.

        Args:
            done: share of the training that is done, 0 to 1.
            epoch: number of the epoch.
            images_per_second: speed of the training.
            wait: seconds per step spent waiting for data.
            left: expected remaining seconds.
        """
        if self.console.is_terminal:
            words = (
                f"epoch {epoch}  {images_per_second:.0f} images/s  "
                f"waits {1000 * wait:.0f} ms/step  {clock(left)} left"
            )
            self._bar.update(self._task, completed=done, description=words)
