"""The demo with few images and few epochs."""

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from softgate_ext.commands import demo as module
from softgate_ext.commands.demo import demo
from softgate_ext.commands.demo_config import DemoConfig
from softgate_ext.errors import InputError
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.timing import time_steps


@pytest.fixture
def small(tiny_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def training_config(config: DemoConfig, data: Path) -> TrainConfig:
        return TrainConfig(data=data, out=config.out / "run", epochs=1, **tiny_options)

    monkeypatch.setattr(module, "training_config", training_config)


def test_a_demo_is_shown_again_and_trained_anew_when_asked(
    small: None, people: Path, tmp_path: Path
) -> None:
    console = Console(record=True, width=100, file=open(os.devnull, "w"))  # noqa: SIM115
    config = DemoConfig(tmp_path / "demo", data=people)
    report = demo(config, console)
    assert report["after"] != report["before"]
    assert report["step_seconds"]["auto"] > 0 and report["step_seconds"]["reference"] > 0
    for name in ("learning_curve.png", "people.png", "gates.png", "demo.json", "run"):
        assert (config.out / name).exists()
    text = console.export_text()
    assert "before training" in text and "ms fused" in text

    (config.out / "people.png").unlink()
    assert demo(config, console) == report
    assert "--fresh trains again" in console.export_text()
    assert not (config.out / "people.png").exists()

    config.fresh = True
    again = demo(config, console)
    assert again["after"] == report["after"]
    assert (config.out / "people.png").exists()


def test_an_interrupted_demo_goes_on(
    small: None, people: Path, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DemoConfig(tmp_path / "demo", data=people)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "gate_histograms", interrupted)
        demo(config, quiet)
    report = demo(config, quiet)
    assert report["epochs"] == 1
    assert report["before"]["pooled"] >= 0


def test_wrong_input(tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(InputError, match="minutes"):
        demo(DemoConfig(tmp_path / "demo", minutes=0), quiet)
    with pytest.raises(InputError, match="minutes"):
        demo(DemoConfig(tmp_path / "demo", minutes=float("nan")), quiet)
    with pytest.raises(InputError, match="absent"):
        demo(DemoConfig(tmp_path / "demo", data=tmp_path / "absent"), quiet)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "model.safetensors"])
def test_what_no_demo_wrote_is_left_alone(
    small: None, people: Path, tmp_path: Path, quiet: Console, name: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("x")
    for data in (people, tmp_path / "absent"):
        with pytest.raises(InputError, match="which no demo wrote" if data == people else "absent"):
            demo(DemoConfig(tmp_path, data=data, fresh=True), quiet)
    assert os.listdir(tmp_path) == ["run"] and os.listdir(tmp_path / "run") == [name]


@pytest.mark.parametrize("text", ["{}", "[]", '{"training": 3}'])
def test_a_damaged_report(
    small: None, people: Path, tmp_path: Path, quiet: Console, text: str
) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(InputError, match="demo.json is damaged"):
        demo(DemoConfig(tmp_path, data=people), quiet)


def test_a_folder_without_pictures(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "empty").mkdir()
    for pictures in ("empty", "absent"):
        with pytest.raises(InputError, match="pictures: got .*; takes a folder with pictures"):
            demo(DemoConfig(tmp_path / "demo", pictures=tmp_path / pictures), quiet)
    assert not (tmp_path / "demo").exists()


def test_steps_are_timed_by_backend(tiny_options: dict[str, Any], tmp_path: Path) -> None:
    config = TrainConfig(tmp_path, tmp_path, **tiny_options)
    seconds = time_steps(config, 14, ("reference", "auto"), rounds=2)
    assert list(seconds) == ["reference", "auto"]
    assert all(0 < value < 10 for value in seconds.values())
