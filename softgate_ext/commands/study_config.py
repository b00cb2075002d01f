"""What `softgate study` is told: a dataclass that is the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.runs.options import Positional

StudyName = Literal["gates", "alpha", "fusion", "architecture", "recipe", "stacks"]


@dataclass
class StudyConfig:
    """Train the variants of one question alike, several seeds each, and say which is better.

    `gates`: none, one a block, one a channel; `alpha`: where gates start; `fusion`: how skips are
    joined; `architecture`: hybrid or hourglass; `stacks`: how many; `recipe`: learning rate, batch, target
    size and other options of the training. A run that is done is kept, and
    the same command goes on where it was stopped.
    """

    study: Positional[StudyName]
    """The question: gates, alpha, fusion, architecture, recipe or stacks."""
    data: Positional[Path]
    """Dataset as it unpacks: its train part trains, and its test part is measured by its own metric."""
    out: Path = Path("runs/study")
    """Folder of rows.jsonl (a line a run, of all studies), the plots, the runs and their crops."""
    show: bool = False
    """Train nothing: show the rows that are done."""
    seeds: int = 3
    """Trainings of each variant, by the seeds 0, 1, ..."""
    model: str = "hybrid_1x32"
    """Network that the variants differ from in one respect."""
    image_size: int = 64
    """Side of the square crop in pixels."""
    epochs: int = 6
    """Passes over the training people."""
    batch_size: int = 16
    """People in a step."""
    lr: float = 2e-3
    """Learning rate after the warm-up; the optimizer is AdamW, the schedule cosine."""
    threads: int | None = None
    """Threads of the CPU for the network (default: PyTorch's choice)."""
