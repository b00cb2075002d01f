"""Event files, read back by TensorBoard."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

Make = Callable[..., TrainConfig]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.mark.slow  # TensorBoard takes seconds to import
def test_every_epoch_is_there_once(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    train(tiny(epochs=1, tensorboard=True), quiet)
    history = train(tiny(epochs=2, tensorboard=True, resume=True), quiet)
    board = tmp_path / "run" / "tensorboard"
    losses = [(entry["epoch"], pytest.approx(entry["loss"])) for entry in history]
    assert scalars(board, "train/loss") == losses
    accuracy = [(entry["epoch"], pytest.approx(entry["watched"]["pooled"])) for entry in history]
    assert scalars(board, "PCK@0.2/pooled") == accuracy


def test_what_is_not_installed_is_said(
    tiny: Make, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match="tensorboard: it is not installed; pip install"):
        train(tiny(tensorboard=True), quiet)
    assert not (tmp_path / "run").exists()
