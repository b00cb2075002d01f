"""What `python -m softgate_ext.cli.publish` is told: a dataclass that is the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.runs.options import Positional


@dataclass
class PublishConfig:
    """Ship the weights of a finished run in the package, with their card, and rewrite docs/models.md.

    The datasets that it was trained on must be there: their samples are counted, and the numbers on
    the card are measured on the test part of the first one.
    """

    run: Positional[Path]
    """Folder that `softgate train` wrote."""
    name: Positional[str]
    """What users will call the weights; those of that name are replaced."""
    commit: tuple[str, ...]
    """Commit of this repository that trained them, then those of the runs that it started from; the last one
    stands for all further runs."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched."""
    measure: tuple[Path, ...] = ()
    """Datasets to measure instead of the one that was watched."""
    cores: int | None = None
    """Processor cores that trained it (default: processes in its log times its `--threads`)."""
    failures: tuple[str, ...] = ()
    """Sentences on what it gets wrong, beside those that follow from the numbers."""
    unfinished: bool = False
    """Take a run whose training is not over; the card says so."""
    flip_test: bool = True
    """Measure with the flip test too."""
    batch_size: int = 32
    """Samples in a forward pass of the measurements."""
    workers: int = 1
    """Processes that read and crop images (0: the process of the network does it)."""
