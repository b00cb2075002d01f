"""The files of a run, and functions that write and read its configuration and training state.

    config.json         the configuration (RunConfig); written with the first epoch
    model.safetensors   the last weights, which are the ones to use; the header names the epoch
    best.safetensors    the weights with the best score on the watched samples
    training.pt         everything that `--resume` needs: raw weights, optimizer, counters, RNG
    log.jsonl           one line per epoch
    plots.png           the plot sheet, written at the end of the training
    tensorboard/        event files, with `--tensorboard`

Every file is replaced as a whole and can be used without the others. A run that is killed at any
moment therefore leaves a folder that predicts and resumes. A resume reads training.pt alone, even if
the other files are of another epoch.
"""

import io
from pathlib import Path
from typing import Any

import torch

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_bytes, write_json
from softgate_ext.files.reading import read_json
from softgate_ext.files.unfolding import check_zip
from softgate_ext.pretrained.shipped import list_pretrained
from softgate_ext.ranges import check_range
from softgate_ext.runs.config_json import from_json, to_json
from softgate_ext.runs.places import CONFIG, STATE
from softgate_ext.runs.run_config import RunConfig


def save_config(run: Path, config: RunConfig) -> None:
    """Writes the run's configuration."""
    write_json(run / CONFIG, to_json(config))


def load_config(run: Path) -> RunConfig:
    """Reads the configuration of a run.

    Raises:
        InputError: `run` is not a folder, or has no valid configuration.
    """
    try:
        there = run.is_dir()
    except OSError as error:
        raise InputError(
            f"run: cannot look into {run} ({error.strerror}); give a folder that `softgate train` "
            "wrote"
        ) from None
    if not there:
        shipped = "".join(f" or {name}" for name in list_pretrained())
        raise InputError(
            f"run: there is no folder {run}; give one that `softgate train` wrote{shipped}"
        )
    path = run / CONFIG
    if not path.is_file():
        raise InputError(f"run: {run} holds no {CONFIG}; give a folder that `softgate train` wrote")
    return from_json(RunConfig, read_json(path), str(path))


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Writes the training state: tensors, numbers, strings, and containers of them."""
    # The state is serialised in memory first, because torch.save hides the error of a full disk.
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes(run / STATE, data.getvalue())


def load_state(run: Path) -> dict[str, Any]:
    """Reads the training state of a run. No code in the file is executed.

    Raises:
        InputError: the file is missing or damaged, or a number in it is out of its range.
    """
    path = run / STATE
    if not path.is_file():
        raise InputError(
            f"resume: {run} holds no {STATE}; train without --resume, or give a run that has one"
        )
    try:
        check_zip(path)
    except ValueError as error:
        raise InputError(
            f"resume: cannot read {path} ({error}); put the training state of this run there"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for damaged files
        raise InputError(
            f"resume: {path} is damaged, not a readable training state; put a copy of it back, or "
            "train into another folder"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"resume: {path} is not a training state but a {type(state).__name__}")
    for name in ("epoch", "best", "elapsed"):
        check_range(name, state.get(name), f"resume: {path}: ")
    return state
