"""`softgate synth`, `profile` and `info`: what they are told, and what they print."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgate_ext.files.counted import counted
from softgate_ext.files.printable import tell
from softgate_ext.ranges import check_ranges
from softgate_ext.runs.options import Positional


@dataclass
class SynthConfig:
    """Draw people in LSP's format: joints.mat and images/, of which the first half is the train part."""

    folder: Positional[Path]
    """Folder to write; it must not exist yet or be empty."""
    count: int = 1000
    """Number of pictures to draw, each of one person."""
    seed: int = 0
    """Seed of everything drawn; the same seed gives the same files."""


@dataclass
class ProfileConfig:
    """Count parameters and multiply-accumulates of networks, beside the hourglass baseline."""

    models: Positional[tuple[str, ...]] = ()
    """Networks to show part by part (default: a table of all networks)."""
    image_size: int = 256
    """Side of the square input in pixels."""


@dataclass
class InfoConfig:
    """Say what was built, what `auto` picks, and which networks and weights there are."""

    json: bool = False
    """Print JSON instead of text."""


def synthesise(config: SynthConfig) -> None:
    """Draws people."""
    check_ranges(config)
    from rich.console import Console
    from rich.progress import Progress

    from softgate_ext.data.synthetic import draw_people

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing people", total=config.count)
        draw_people(config.folder, config.count, config.seed, progress=lambda _: bar.advance(task))
    tell(
        f"{config.folder}: {counted(config.count, '[person|people]')}, the first half is the train part"
    )


def profile(config: ProfileConfig) -> None:
    """Prints the sizes of networks."""
    check_ranges(config)
    from softgate_ext.models.profile import print_profile

    print_profile(config.models, config.image_size)


def print_info(config: InfoConfig) -> None:
    """Prints what was built."""
    from softgate_ext.models import list_models, list_pretrained
    from softgate_ext.ops.backend import info

    facts = {**info(), "models": list_models(), "pretrained": list_pretrained()}
    if config.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name}:{_words(value)}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {key}:{_words(item)}" for key, item in value.items())
    return " " + (", ".join(map(str, value)) if isinstance(value, list) else str(value))
