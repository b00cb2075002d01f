"""What the files of a run are called, and where a run lies that is named."""

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
RUNS = "SOFTGATE_RUNS"  # environment variable: the folder of runs that are known by name


def find_run(path_or_name: Path | str) -> Path:
    """Where a run lies: the path itself where there is something; else the folder of that name in
    `SOFTGATE_RUNS` (`runs`); else the weights of that name that the package ships.

    Raises:
        InputError: it is neither a text nor a path.
    """
    path = as_path(path_or_name, "run", "the folder of a run, or a name")
    known = Path(os.environ.get(RUNS) or "runs")
    with suppress(OSError, ValueError):  # a name that cannot be one; whoever opens it says so
        if len(path.parts) == 1 and not path.exists():
            if (known / path).is_dir():
                return known / path
            if path.name in shipped.list_pretrained():
                return shipped.weights_file(path.name)
    return path


def is_shipped(place: Path) -> bool:
    """Whether what `find_run` found is a file of the package."""
    return place.parent == shipped.FOLDER and place.suffix == ".safetensors"


def is_run(path_or_name: Path | str) -> bool:
    """Whether a run lies there, whole or not, or is known by that name."""
    place = find_run(path_or_name)
    with suppress(OSError, ValueError):
        return is_shipped(place) or any((place / name).is_file() for name in FILES if name != PLOTS)
    return False
