"""The options of `softgate gates`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.runs.options import Device, Positional


@dataclass
class GatesConfig:
    """Show the gates of a run by block and depth, and remove those that are nearly closed."""

    run: Positional[Path]
    """Folder that `softgate train` wrote, the name of one in `runs`, or the name of shipped weights."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched."""
    eps: float = 0.01
    """Gates of a smaller magnitude count as nearly closed."""
    png: Path | None = None
    """Also draw a histogram for each block into this file, and for each depth into a second file."""
    json: Path | None = None
    """Also write the numbers to this file."""
    prune: float | None = None
    """Set the gates of a smaller magnitude than this to exactly 0, and write a run to `out`."""
    out: Path | None = None
    """Folder of the pruned run."""
    data: Path | None = None
    """Dataset as it was unpacked: measure its test part, by its own metric, before and after."""
    train_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, that is the train part."""
    test_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, that is the test part."""
    allow_outside: bool = False
    """Let annotation files name pictures outside of their dataset."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
