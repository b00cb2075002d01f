"""The dataclasses of the command line, as JSON and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softgate_ext.commands.gates_config import GatesConfig
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.runs.config_json import from_json, to_json
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig

TRAIN = TrainConfig(
    Path("data"), Path("run"), model_options={"gate": "block", "width": 16}, minutes=1.5, clip=2.0
)


@pytest.mark.parametrize(
    "config",
    [
        TRAIN,
        EvalConfig(Path("run"), Path("data"), json=Path("figures.json")),
        PredictConfig(Path("run"), ("a.jpg", "b.jpg"), Path("out"), box=(1.0, 2.0, 3.0, 4.0)),
        ServeConfig(Path("run"), port=8000, max_megabytes=2.5),
        GatesConfig(Path("run"), prune=0.01, out=Path("pruned")),
        RunConfig({"name": "hybrid_1x32", "kwargs": {"joints": 14}}, "lsp", 128, 1.0, 1.3, TRAIN),
    ],
    ids=lambda config: type(config).__name__,
)
def test_json_gives_back_the_same_configuration(config: Any) -> None:
    stored = json.loads(json.dumps(to_json(config)))
    assert from_json(type(config), stored, "here") == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batchsize": 3}, "here: batchsize: got 3; unexpected keyword argument"),
        ({"batch_size": "many"}, "here: batch_size: got 'many'; input should be a valid integer"),
        (
            {"schedule": "linear"},
            "here: schedule: got 'linear'; input should be 'cosine', 'step' or 'paper'",
        ),
        ({"epochs": "ten"}, "here: epochs: got 'ten'; input should be a valid integer"),
        ({"lr": None}, "here: lr: got None; input should be a valid number"),
    ],
)
def test_a_wrong_entry_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_json(TrainConfig, to_json(TRAIN) | change, "here")


def test_a_choice_of_types_is_one_fault() -> None:
    run = RunConfig({"name": "hybrid_1x32", "kwargs": {}}, "lsp", 128, 1.0, 1.3, TRAIN)
    words = "here: skeleton: got 5; input should be a valid string or input should be "
    with pytest.raises(InputError, match=words):
        from_json(RunConfig, to_json(run) | {"skeleton": 5}, "here")
    run.training = replace(TRAIN, batch_size="3")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="here: training.batch_size: got '3'; input should be "):
        from_json(RunConfig, to_json(run), "here")


def test_a_missing_entry_is_named() -> None:
    stored = to_json(TRAIN)
    del stored["data"]
    with pytest.raises(InputError, match="^config.json: data: got .*; field required$"):
        from_json(TrainConfig, stored, "config.json")


def test_old_configurations_take_new_defaults() -> None:
    stored = to_json(TRAIN)
    del stored["ema"]
    assert from_json(TrainConfig, stored, "config.json") == TRAIN


def test_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(InputError, match="config.json: got .*; input should be an object"):
        from_json(TrainConfig, [], "config.json")


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.0},
        {"lr": float("nan")},
        {"batch_size": 0},
        {"minutes": -1.0},
        {"epochs": 0},
        {"workers": -1},
        {"ema": 1.0},
        {"flip": 1.5},
        {"holdout": -1},
        {"sigma": 0.0},
        {"threads": 0},
        {"threads": 10**12},
        {"seed": 2**64},
        {"lr": float("inf")},
        {"minutes": float("inf")},
        {"model_options": {"joints": 16}},
    ],
    ids=str,
)
def test_values_out_of_range_are_named(change: dict[str, Any]) -> None:
    config = TrainConfig(Path("data"), Path("run"), **change)
    with pytest.raises(InputError, match=f"{next(iter(change))}: got"):
        config.check()


def test_a_path_with_the_character_zero_is_one_sentence() -> None:
    with pytest.raises(InputError, match="x.json: holds the character 0"):
        from_json(TrainConfig, {"data": "d", "out": "o", "cache": "a\0b"}, "x.json")


def test_a_number_beyond_float32_is_refused() -> None:
    with pytest.raises(
        InputError, match="weight_decay: got 1e.308; takes a number from 0 to 1e.38"
    ):
        TrainConfig(Path("d"), Path("o"), weight_decay=1e308).check()


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 4e-3), ("rmsprop", 2.5e-4)])
def test_an_optimizer_has_its_own_learning_rate(optimizer: Any, rate: float) -> None:
    """The number is stored, so that a run keeps it if the defaults change."""
    config = TrainConfig(Path("data"), Path("out"), optimizer=optimizer)
    assert to_json(config)["lr"] == config.lr == rate
    assert TrainConfig(Path("data"), Path("out"), optimizer=optimizer, lr=0.1).lr == 0.1
