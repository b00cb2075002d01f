"""The options of `softgate serve`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.pretrained.shipped import DEFAULT
from softgate_ext.runs.options import Device, Positional


@dataclass
class ServeConfig:
    """Serve a page that shows the pose in a picture (needs the extra `serve`)."""

    run: Positional[Path] = Path(DEFAULT)
    """Folder that `softgate train` wrote, the name of one in `runs`, or the name of shipped weights."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every address of this machine."""
    port: int = 7860
    """Port to listen at (0: any that is free)."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    max_megabytes: float = 10.0
    """Larger files are refused."""
    max_megapixels: float = 40.0
    """Pictures of more pixels are refused before they are decoded."""
    at_once: int = 2
    """Pictures worked on at the same time; the others wait in a queue."""
    waiting: int = 32
    """Pictures that may wait; further ones are refused."""
    detect: bool = False
    """Find the people of a picture first (needs the packages of docs/prediction.md)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
