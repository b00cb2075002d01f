"""A package folder to which a test publishes weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Shelf:
    """What a publication writes to, and the command of one.

    Attributes:
        folder: where the weights and their cards lie.
        page: the page of all cards.
        publish: publishes a run; returns the card.
    """

    folder: Path
    page: Path
    publish: Callable[..., dict[str, Any]]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())
