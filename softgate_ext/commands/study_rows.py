"""The rows of studies: a line of JSON a run, whole or not there."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_text
from softgate_ext.files.reading import chunks, parse_json
from softgate_ext.runs.config_json import from_json, to_json
from softgate_ext.runs.options import STRICT


@dataclass(frozen=True)
class Row:
    """A run of a study.

    Attributes:
        configuration: all that its figure follows from: data, network and training. Rows of
            different studies that agree in it are one.
        run: its folder, by which `softgate gates` and `evaluate` know it.
        steps: of the optimizer.
        metric, pck: what was measured, and the figure in percent.
        parameters: of the network.
        macs: multiply-accumulates for one image.
        cpu_seconds: of the training on all cores; None where it was stopped and continued.
        elapsed: seconds of wall time.
        commit: of the code, None where it was no clone.
        machine: processor, cores, threads, PyTorch, and the load of the minute after the training.
    """

    __pydantic_config__ = STRICT

    configuration: dict[str, Any]
    run: str
    steps: int
    metric: str
    pck: float
    parameters: int
    macs: int
    cpu_seconds: float | None
    elapsed: float
    commit: str | None
    machine: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file.

    Raises:
        InputError: the file cannot be read, or a line is no row.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(b"".join(chunks(path)).splitlines(), 1):
        where = f"{path}: line {number}"
        try:
            value = parse_json(line)
        except ValueError:
            raise InputError(f"{where} is no row of a study; remove that line") from None
        row = from_json(Row, value, where)
        if not 0 <= row.pck <= 100:
            raise InputError(f"{where}: pck: got {row.pck}; takes a number from 0 to 100")
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file, at once."""
    write_text(path, "".join(json.dumps(to_json(row)) + "\n" for row in rows))


def spread(figures: Sequence[float]) -> float:
    """The standard deviation of the runs that these are a sample of; NaN for fewer than two."""
    return statistics.stdev(figures) if len(figures) > 1 else math.nan


def verdict(figures: Mapping[str, Sequence[float]], seeds: int) -> str:
    """A sentence: the variant that wins, or that none does.

    One wins whose every run is above every run of every other: for three seeds each of two
    variants that are alike, this happens by chance once in ten times.
    """
    if missing := [name for name, runs in figures.items() if len(runs) < seeds]:
        return f"No verdict: not all of {seeds} seeds were run of {'; '.join(missing)}."
    if seeds < 2:
        return "No verdict: one seed has no spread."
    best = max(figures, key=lambda name: statistics.fmean(figures[name]))
    beside = [
        name for name, runs in figures.items() if name != best and max(runs) >= min(figures[best])
    ]
    if not beside:
        return f"{best} wins: each of its runs is above all runs of the others."
    return f"No winner within the spread: runs of {'; '.join(beside)} reach those of {best}."
