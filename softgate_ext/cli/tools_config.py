"""What `softgate synth`, `profile` and `info` are told: dataclasses that are the command lines."""

from dataclasses import dataclass
from pathlib import Path

from softgate_ext.runs.options import Positional


@dataclass
class SynthConfig:
    """Draw people in LSP's format: joints.mat and images/, the first half to train."""

    folder: Positional[Path]
    """Folder to write; it must not exist yet or be empty."""
    count: int = 1000
    """People to draw."""
    seed: int = 0
    """Seed of everything drawn; the same seed gives the same files."""


@dataclass
class ProfileConfig:
    """Count parameters and multiply-accumulates of networks, beside the hourglass baseline."""

    models: Positional[tuple[str, ...]] = ()
    """Networks to show by their parts (default: a table of all networks)."""
    image_size: int = 256
    """Side of the square input in pixels."""


@dataclass
class InfoConfig:
    """Say what was built, what `auto` picks, and which networks there are."""

    json: bool = False
    """Print JSON in place of lines."""
