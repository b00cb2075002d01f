"""Whole trainings, most of them interrupted."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.io
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from stored_weights import assert_same_weights

from softgate_ext.errors import InputError
from softgate_ext.runs import places
from softgate_ext.runs.log import read_log
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training import schedule
from softgate_ext.training.learner import Learner
from softgate_ext.training.trainer import Trainer, train

Make = Callable[..., TrainConfig]


def test_a_run_is_whole(run: Path) -> None:
    assert sorted(os.listdir(run)) == [
        "best.safetensors", "config.json", "log.jsonl", "model.safetensors", "plots.png",
        "training.pt",
    ]  # fmt: skip
    entries = read_log(run / "log.jsonl")
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert [entry["step"] for entry in entries] == [2, 4]
    assert len(entries[-1]["watched"]["per_joint"]) == 14
    assert entries[-1]["images_per_second"] > 0 and entries[-1]["wait_per_step"] >= 0


def test_the_same_seed_gives_the_same_weights_however_many_workers(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    train(tiny(workers=2), quiet)
    assert_same_weights(run, tmp_path / "run")


def test_another_seed_gives_other_weights(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    train(tiny(seed=1), quiet)
    with pytest.raises(AssertionError):
        assert_same_weights(run, tmp_path / "run")


def test_a_run_is_not_overwritten(tiny: Make, run: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        train(tiny(out=run), quiet)


def test_minutes_end_a_training_with_the_rate_at_its_end(
    tiny: Make, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: 0.01 * next(ticks))
    monkeypatch.setattr(schedule, "time", clock)
    history = train(tiny(epochs=None, minutes=0.01), quiet)
    rates = [entry["lr"] for entry in history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.02 * rates[0]
    assert history[-1]["watched"] is not None
    assert history[-1]["elapsed"] == pytest.approx(0.6, abs=0.1)


def test_evaluations_can_be_rare_but_the_last_epoch_has_one(tiny: Make, quiet: Console) -> None:
    history = train(tiny(epochs=3, evaluate_every=2, watch=3), quiet)
    assert [entry["watched"] is not None for entry in history] == [False, True, True]


def test_held_out_people_are_not_trained_on(tiny: Make, quiet: Console) -> None:
    trainer = Trainer(tiny(holdout=3), quiet)
    assert len(trainer.train_set) == 5 and len(trainer.watched) == 3
    assert not set(trainer.train_set.image_paths) & set(trainer.watched.image_paths)
    assert trainer.watched.name.endswith("train")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": Path("absent")}, "absent"),
        ({"model": "resnet50"}, "resnet50"),
        ({"model_options": {"depht": 2}}, "depht"),
        ({"image_size": 60}, "60"),
        ({"holdout": 8}, "holdout: got 8"),
        ({"device": "tpu"}, "device: got 'tpu'"),
        ({"resume": True}, "there is no folder"),
        ({"lr": -1.0}, "lr: got -1.0"),
        ({"accumulate": 5}, "batch_size: got 4 samples, which are too few"),
        ({"init": Path("absent")}, "init: there are no weights absent"),
        ({"colour": 5.0}, "colour"),
        ({"sigma": 17.0}, "sigma: got 17.0; takes up to the side of the heatmaps"),
        ({"batch_size": 10**20}, "batch_size: got 10+; takes a whole number from 1 to 2147483647"),
        ({"model_options": {"mean": 5}}, "mean must be three numbers, got 5"),
        ({"init": Path(__file__)}, "init: .*test_trainer.py is not a readable safetensors file"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_said_and_nothing_written(
    tiny: Make, tmp_path: Path, quiet: Console, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        train(tiny(**change), quiet)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_to(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to the folder"):
        train(tiny(out=tmp_path / "file" / "run"), quiet)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_one_sentence(
    tiny: Make, people: Path, tmp_path: Path, quiet: Console, workers: int
) -> None:
    data = Path(shutil.copytree(people, tmp_path / "people"))
    image = data / "images" / "im0002.jpg"
    image.write_bytes(image.read_bytes()[:600])
    with pytest.raises(InputError, match="im0002.jpg") as caught:
        train(tiny(data=data, workers=workers), quiet)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_epoch_without_a_finite_step_is_an_error(
    tiny: Make, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny(), quiet)
    with torch.no_grad():
        next(trainer.learner.model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="no step of epoch 1 had a finite loss"):
        trainer.train()
    assert not (tmp_path / "run" / "training.pt").exists()


def test_weights_without_a_state_are_left_alone(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / places.STATE).unlink()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="holds weights"):
        train(tiny(), quiet)
    for name in places.WEIGHTS.values():
        (out / name).unlink()
        del before[name]
    with pytest.raises(InputError, match="holds the log of a run"):
        train(tiny(), quiet)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_one_training_at_a_time(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    first = Trainer(tiny(), quiet)
    with pytest.raises(InputError, match="another process is training into"):
        Trainer(tiny(), quiet)
    first.train()
    Trainer(tiny(resume=True), quiet)


def test_a_full_disk_is_one_sentence(
    tiny: Make, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if places.STATE in path.name:
            raise OSError(28, "No space left on device")
        return genuine(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="training.pt .No space left on device"):
        train(tiny(), quiet)


def test_one_value_per_channel_is_refused(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match="batch_size: got 1 .* image_size 16"):
        train(tiny(batch_size=1, image_size=16), quiet)
    assert not (tmp_path / "run").exists()


def test_nobody_labelled_is_refused(tiny: Make, people: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(people, tmp_path / "people"))
    joints = scipy.io.loadmat(people / "joints.mat")["joints"].transpose(1, 0, 2).astype(float)
    joints[:, 2] = 0
    scipy.io.savemat(data / "joints.mat", {"joints": joints})
    with pytest.raises(InputError, match="label"):
        Trainer(tiny(data=data))
    assert not (tmp_path / "run").exists()


def test_a_training_can_start_from_the_weights_of_another(
    tiny: Make, run: Path, tmp_path: Path, quiet: Console
) -> None:
    for source in (run, run / "model.safetensors"):
        trainer = Trainer(tiny(init=source, out=tmp_path / source.name), quiet)
        for name, tensor in load_file(run / "model.safetensors").items():
            assert torch.equal(trainer.learner.model.state_dict()[name], tensor), name


def test_what_does_not_fit_starts_anew(
    tiny: Make, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = load_file(run / "model.safetensors")
    head = next(name for name, tensor in stored.items() if tensor.shape[:1] == (14,))
    stored[head] = stored[head][:13]
    save_file(stored, tmp_path / "other.safetensors")
    Trainer(tiny(init=tmp_path / "other.safetensors"))
    assert f"{len(stored) - 1} tensors of {len(stored)} from" in capsys.readouterr().out
    save_file({head: stored[head]}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="init: no tensor of .*other.safetensors has the name"):
        Trainer(tiny(init=tmp_path / "other.safetensors", out=tmp_path / "run2"))


def test_worker_processes_start_before_the_first_step(
    tiny: Make, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process forked later, beside threads that run Python, may hang in CPython's locks."""
    seen: list[set[int | None]] = []
    step = Learner.step

    def watched(learner: Learner, *arguments: Any) -> Any:
        seen.append({process.pid for process in multiprocessing.active_children()})
        return step(learner, *arguments)

    monkeypatch.setattr(Learner, "step", watched)
    train(tiny(workers=1, epochs=2), quiet)
    assert len(seen[0]) >= 2 and all(pids == seen[0] for pids in seen)
