"""The range of every number that a user, a run's configuration or a stored file gives."""

import dataclasses
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from softgate_ext.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; a whole one is no truth value and has no fraction.

    Attributes:
        low, high: the ends.
        whole: whether only whole numbers are meant.
        above, below: whether the lower and the upper end themselves are left out.
    """

    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        low = self.low < number if self.above else self.low <= number  # false for NaN
        return bool(low and (number < self.high if self.below else number <= self.high))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        start = f"above {self.low}" if self.above else f"from {self.low}"
        return f"{kind} {start} {'to below' if self.below else 'to'} {self.high}"


def _whole(low: int, high: int) -> Range:
    return Range(low, high, whole=True)


_COUNT = 2**31 - 1  # what iterators count with machine words
_FLOAT = 1e38  # float32 holds it
_positive = Range(0, _FLOAT, above=True)
_share = Range(0, 1, below=True)  # a share of less than the whole
_part = Range(0, 1)

RANGES = {
    # The heatmaps are a quarter of the crop, and a peak is refined by its neighbours.
    "image_size": _whole(12, 8192),
    "sigma": Range(0, 2048, above=True),  # the side of the largest heatmaps
    "box_margin": Range(0, 10_000, above=True),
    # Networks: far more never end being built; 2**11 divides the largest images.
    "width": _whole(1, 8192),
    "stacks": _whole(1, 100),
    "stages": _whole(1, 100),
    "view": Range(0, 1, above=True),
    "depth": _whole(1, 11),
    "groups": _whole(1, 8192),
    "joints": _whole(1, 1000),
    # Trainings.
    "epochs": _whole(1, _COUNT),
    "minutes": Range(0, 10_000_000, above=True),
    "batch_size": _whole(1, _COUNT),
    "accumulate": _whole(1, _COUNT),
    "lr": _positive,
    "warmup": _share,
    "weight_decay": Range(0, _FLOAT),
    "clip": _positive,
    "ema": _share,
    "scale": _share,
    "rotation": Range(0, 360),
    "flip": _part,
    "colour": Range(0, _FLOAT),
    "holdout": _whole(0, _COUNT),
    "evaluate_every": _whole(1, _COUNT),
    "watch": _whole(0, _COUNT),
    "seed": _whole(0, 2**63 - 1),
    "workers": _whole(0, 1024),
    "threads": _whole(1, 1024),  # PyTorch starts as many as it is told
    # The state of a training and its log.
    "epoch": _whole(0, _COUNT),
    "best": Range(-1, 100),  # percent; -1 before there is any
    "elapsed": Range(0, 1e12),  # seconds
    "loss": Range(0, _FLOAT),
    "step": _whole(0, 2**63 - 1),
    "steps": _whole(0, 2**63 - 1),
    "skipped": _whole(0, 2**63 - 1),
    "processes": _whole(1, 1_000_000),
    # Other commands.
    "origin": _whole(0, 1),
    "detect_score": _part,
    "min_box": Range(0, 1_000_000),
    "min_score": Range(-_FLOAT, _FLOAT),
    "max_frames": _whole(1, _COUNT),
    "people": _whole(1, _COUNT),
    "count": _whole(2, 9999),  # LSP numbers pictures by four digits
    "seconds": Range(0, 10_000_000),
    "eps": _positive,
    "prune": _positive,
    "seeds": _whole(1, 1000),
    "cores": _whole(1, 1_000_000),
    "port": _whole(0, 65535),
    "max_megabytes": Range(0, 1_000_000, above=True),
    "max_megapixels": Range(0, 1_000_000, above=True),
    "at_once": _whole(1, 1024),
    "waiting": _whole(1, 1_000_000),
}


def check_range(name: str, value: Any, where: str = "") -> None:
    """Raises InputError, naming where it was read, unless `value` is in the range of `name`."""
    if value not in RANGES[name]:
        raise InputError(f"{where}{name}: got {shown(value)}; takes {RANGES[name]}")


def check_ranges(config: Any, where: str = "") -> None:
    """Raises InputError for the first number of a dataclass or dictionary that is out of its range.

    Args:
        config: the dataclass or dictionary; those in it are looked at too. None is left alone, and
            so is what is no number in a dictionary, whose keys need not be those of the table.
        where: what it was read from, for the message, with a colon behind it.
    """
    free = isinstance(config, dict)
    for name, value in config.items() if free else vars(config).items():
        if dataclasses.is_dataclass(value) or isinstance(value, dict):
            check_ranges(value, f"{where}{name}.")
        elif name in RANGES and value is not None and (isinstance(value, Real) or not free):
            check_range(name, value, where)


def shown(value: Any) -> str:
    """A value for a sentence, also an integer of more digits than Python writes."""
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):
        return f"{type(value).__name__} that is too large to show"
