"""The options of `softgate demo`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class DemoConfig:
    """Show what the shipped weights find in photographs, then train a small network for two minutes
    and show what it has learned."""

    out: Path = Path("runs/demo")
    """Folder of the run, the drawn people and the pictures."""
    data: Path | None = None
    """Folder in LSP's format (default: people drawn into `out`/people)."""
    pictures: Path | None = None
    """Folder of photographs for the shipped weights (default: a photograph in this package)."""
    minutes: float = 2.0
    """Wall time of the training in minutes."""
    fresh: bool = False
    """Train again even if `out` holds a finished demo. Without this option, that demo is only shown."""
