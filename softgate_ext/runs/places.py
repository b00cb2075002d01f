"""The names of a run's files, and the search for a run by its name."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from softgate_ext.files.paths import as_path
from softgate_ext.pretrained import shipped

CONFIG, STATE, LOG, PLOTS = "config.json", "training.pt", "log.jsonl", "plots.png"
Which = Literal["last", "best"]
WEIGHTS: dict[Which, str] = {"last": "model.safetensors", "best": "best.safetensors"}
FILES = (CONFIG, *WEIGHTS.values(), STATE, LOG, PLOTS)
RUNS = "SOFTGATE_RUNS"  # environment variable: the folder in which runs are found by name


def find_run(path_or_name: Path | str) -> Path:
    """The path of a run.

    This is the given path if it exists; else the folder of that name in the folder that the
    environment variable SOFTGATE_RUNS names, which defaults to `runs`; else the file of the shipped
    weights of that name; else the given path.

    Raises:
        InputError: `path_or_name` is neither a text nor a path.
    """
    path = as_path(path_or_name, "run", "the folder of a run, or a name")
    known = Path(os.environ.get(RUNS) or "runs")
    with suppress(OSError, ValueError):  # an impossible name: opening it will give the error
        if len(path.parts) == 1 and not path.exists():
            if (known / path).is_dir():
                return known / path
            if path.name in shipped.list_pretrained():
                return shipped.weights_file(path.name)
    return path


def is_shipped(place: Path) -> bool:
    """Whether a result of `find_run` is a file of shipped weights."""
    return place.parent == shipped.FOLDER and place.suffix == ".safetensors"


def is_run(path_or_name: Path | str) -> bool:
    """Whether there is a run, complete or not, at this path or under this name."""
    place = find_run(path_or_name)
    with suppress(OSError, ValueError):
        return is_shipped(place) or any((place / name).is_file() for name in FILES if name != PLOTS)
    return False
