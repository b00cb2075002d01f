"""The options of `softgate study`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.runs.options import Positional

StudyName = Literal["gates", "alpha", "fusion", "architecture", "recipe", "regression", "stacks"]


@dataclass
class StudyConfig:
    """Train the variants of one design choice in the same way, several seeds each, and say which is better.

    `gates`: none, one for each block, one for each channel; `alpha`: the value at which gates start;
    `fusion`: how skips are joined; `architecture`: hybrid or hourglass; `stacks`: how many; `recipe`:
    options of the training; `regression`: heatmaps, or joints regressed as in DeepPose. Finished runs are kept: the same command continues where it was stopped.
    """

    study: Positional[StudyName]
    """The design choice: gates, alpha, fusion, architecture, recipe, regression or stacks."""
    data: Positional[Path]
    """Dataset as it was unpacked. The networks train on its train part and are measured on its test
    part, by its own metric."""
    out: Path = Path("runs/study")
    """Folder of rows.jsonl (one line for each run of all studies), the plots, the runs and their crops."""
    show: bool = False
    """Train nothing: show the rows of finished runs."""
    seeds: int = 3
    """Number of trainings of each variant, with the seeds 0, 1, ..."""
    model: str = "hybrid_1x32"
    """Network from which each variant differs in one respect."""
    image_size: int = 64
    """Side of the square crop in pixels."""
    epochs: int = 6
    """Passes over the training samples."""
    batch_size: int = 16
    """Samples in a step."""
    lr: float = 2e-3
    """Learning rate after the warm-up; the optimizer is AdamW, the schedule cosine."""
    threads: int | None = None
    """CPU threads for the network (default: PyTorch's choice)."""
