"""Trainings that are resumed after a kill or for more epochs, and those that cannot be."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from stored_weights import assert_same_weights

from softgate_ext.data.synthetic import draw_people
from softgate_ext.errors import InputError
from softgate_ext.files import atomic
from softgate_ext.runs import checkpoint, opening, places
from softgate_ext.runs.log import read_log
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import Trainer, train

Make = Callable[..., TrainConfig]


class Killed(BaseException):
    """Ends a process where it stands, as SIGKILL would: nothing catches it."""


def test_killed_at_any_file_it_resumes_to_the_same_weights(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies just before and just after each file takes its name, and goes on from there."""
    genuine = os.replace

    def dying(moment: int, after: bool) -> Callable[[Any, Any], None]:
        count = 0

        def stand_in(source: Any, target: Any) -> None:
            nonlocal count
            count += 1
            if count == moment and not after:
                raise Killed
            genuine(source, target)
            if count == moment:
                raise Killed

        return stand_in

    deaths = 0
    for moment in range(1, 100):
        out = tmp_path / f"run{moment}"
        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, "replace", dying(moment, after=moment % 2 == 0))
            try:
                train(tiny(out=out), quiet)
                break
            except Killed:
                deaths += 1
        if (out / places.WEIGHTS["last"]).exists():
            opening.load_run(out)
        resume = (out / places.STATE).exists()
        if not resume and (out / places.WEIGHTS["last"]).exists():
            # Killed within the first epoch's files: nothing is taken away unasked.
            with pytest.raises(InputError, match="holds weights"):
                train(tiny(out=out), quiet)
            shutil.rmtree(out)
        history = train(tiny(out=out, resume=resume), quiet)
        assert [entry["epoch"] for entry in history] == [1, 2]
        assert read_log(out / "log.jsonl") == history
        assert_same_weights(run, out)
        shutil.rmtree(out)
    assert deaths >= 7  # log, configuration, and two or three files for each of two epochs


def test_the_random_state_is_that_of_one_training_with_workers_too(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    """However often the loaders begin anew."""
    options = {"workers": 1, "schedule": "step"}
    train(tiny(**options), quiet)
    parts = tiny(out=tmp_path / "parts", epochs=1, **options)
    train(parts, quiet)
    train(replace(parts, epochs=2, resume=True), quiet)
    first, second = (
        checkpoint.load_state(out)["learner"]["rng"] for out in (tmp_path / "run", parts.out)
    )
    assert torch.equal(first, second)


def test_resuming_a_finished_run_changes_nothing(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    history = train(tiny(resume=True), quiet)
    assert len(history) == 2
    assert_same_weights(run, out)


def test_a_finished_run_can_be_made_longer(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    shutil.copytree(run, tmp_path / "run")
    history = train(tiny(resume=True, epochs=3), quiet)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert checkpoint.load_config(tmp_path / "run").training.epochs == 3


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 32},
        {"sigma": 2.0},
        {"model": "hybrid_2x48"},
        {"model_options": {}},
        {"optimizer": "adamw"},
    ],
    ids=str,
)
def test_a_resumed_run_keeps_its_network(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console, change: dict[str, Any]
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(InputError, match="resume: the run has"):
        train(replace(tiny(resume=True), **change), quiet)
    assert (out / "config.json").read_bytes() == (run / "config.json").read_bytes()


def test_a_resume_may_change_the_weight_decay(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    shutil.copytree(run, tmp_path / "run")
    trainer = Trainer(tiny(resume=True, weight_decay=0.5), quiet)
    groups = trainer.learner.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]


def test_plots_that_a_killed_process_owes_are_drawn_by_the_resume(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / places.PLOTS).unlink()
    train(tiny(resume=True, plots=True), quiet)
    assert (out / places.PLOTS).is_file()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fewer_epochs_than_are_done_are_refused(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(
        InputError,
        match="epochs: got 1, but 2 are done; takes the total of all epochs, more than 2",
    ):
        train(tiny(resume=True, epochs=1), quiet)
    assert contents(out) == contents(run)


def test_fewer_minutes_than_are_spent_are_refused(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(InputError, match="minutes: got 0.001, but .* are spent; takes the total"):
        train(tiny(resume=True, epochs=None, minutes=0.001), quiet)
    assert contents(out) == contents(run)


def test_as_many_epochs_as_are_done_are_a_finished_training(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    """Also where it was to be longer at first; and it may still become so."""
    out = tmp_path / "run"
    interrupt_after(2, tiny(epochs=5), quiet)
    before = contents(out)
    assert len(train(tiny(resume=True, epochs=2), quiet)) == 2
    assert contents(out) == before
    assert len(train(tiny(resume=True, epochs=3), quiet)) == 3


def interrupt_after(epochs: int, config: TrainConfig, console: Console) -> None:
    trainer = Trainer(config, console)
    genuine = trainer._keep

    def keep(entry: dict[str, Any]) -> None:
        genuine(entry)
        if entry["epoch"] == epochs:
            raise Killed

    trainer._keep = keep  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.train()


@pytest.mark.parametrize("batch_size", [2, 8])
def test_another_batch_size_ends_with_the_same_epoch(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console, batch_size: int
) -> None:
    """And with the learning rate at its end, as if it had had that size from the first."""
    shutil.copytree(run, tmp_path / "run")
    history = train(tiny(resume=True, epochs=4, batch_size=batch_size), quiet)
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    fresh = train(tiny(out=tmp_path / "other", epochs=4, batch_size=batch_size), quiet)
    assert [entry["lr"] for entry in history[2:]] == [entry["lr"] for entry in fresh[2:]]


def test_people_may_move_but_not_change(
    tiny: Make, run: Path, people: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    moved = Path(shutil.copytree(people, tmp_path / "moved"))
    others = draw_people(tmp_path / "others", 16, seed=4, image_size=80)
    for change in ({"data": others}, {"holdout": 2}, {"extra": (others,)}):
        with pytest.raises(InputError, match="resume: data, extra and holdout give other samples"):
            train(tiny(resume=True, epochs=3, **change), quiet)
    assert contents(out) == contents(run)
    assert len(train(tiny(resume=True, epochs=3, data=moved), quiet)) == 3


@pytest.mark.parametrize(("watch", "best"), [(0, 2), (3, 3)])
def test_the_best_weights_are_those_of_the_people_watched_now(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console, watch: int, best: int
) -> None:
    """A figure that other people gave is none to beat."""
    out = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.copy(out / "model.safetensors", out / "best.safetensors")
    state = checkpoint.load_state(out)
    checkpoint.save_state(out, {**state, "best": 100.0})
    train(tiny(resume=True, epochs=3, watch=watch), quiet)
    with safe_open(out / "best.safetensors", "pt") as file:
        assert f'"epoch": {best},' in file.metadata()["softgate"]


def test_a_resumed_run_takes_no_other_weights(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    shutil.copytree(run, tmp_path / "run")
    with pytest.raises(InputError, match="init: got .* beside resume"):
        train(tiny(resume=True, epochs=3, init=run), quiet)
    first = tiny(out=tmp_path / "second", init=run)
    train(first, quiet)
    assert len(train(replace(first, resume=True, epochs=3), quiet)) == 3  # the same command
    stored = checkpoint.load_config(tmp_path / "second")
    weights = (run / "model.safetensors").read_bytes()
    assert stored.init_sha256 == hashlib.sha256(weights).hexdigest()  # of the start, also later
