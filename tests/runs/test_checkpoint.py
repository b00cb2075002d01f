"""Weights, configuration and training state on the disk."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json
from softgate_ext.files.reading import read_json
from softgate_ext.files.tensors import read_tensors, save_tensors
from softgate_ext.models import create_model
from softgate_ext.runs import checkpoint, opening


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A run that the test may damage."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = create_model("hybrid_1x32", width=8, depth=1, groups=1)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_tensors(tmp_path / "w.safetensors", model.state_dict(), {"epoch": 7})
    stored, about = read_tensors(tmp_path / "w.safetensors", "run")
    assert about == {"epoch": 7} and stored.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_a_run_rebuilds_its_network(run: Path) -> None:
    model, config, about = opening.load_run(run)
    assert not model.training
    assert config.image_size == 64 and config.skeleton == "lsp"
    assert about["epoch"] == 2
    assert model(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 14, 16, 16)


def test_best_and_last_weights_are_kept(run: Path) -> None:
    for which in ("last", "best"):
        _, _, about = opening.load_run(run, which)  # type: ignore[arg-type]
        assert 0 <= about["watched"]["pooled"] <= 100


def change_option(run: Path, **options: Any) -> None:
    stored = read_json(run / "config.json")
    stored["model"]["kwargs"].update(options)
    write_json(run / "config.json", stored)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 16}, "has the shape"),
        ({"stacks": 2}, "is missing"),
        ({"gate": "none"}, "has no place in it"),
    ],
)
def test_weights_of_another_architecture(copied: Path, options: Any, words: str) -> None:
    change_option(copied, **options)
    with pytest.raises(InputError, match=f"another architecture.*{words}") as caught:
        opening.load_run(copied)
    assert "\n" not in str(caught.value)


def test_damaged_weights(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        opening.load_run(copied)
    path.unlink()
    with pytest.raises(InputError, match="there are no weights"):
        opening.load_run(copied)


def test_damaged_configuration(copied: Path) -> None:
    stored = read_json(copied / "config.json")
    write_json(copied / "config.json", stored | {"model": {"name": "hybrid_1x32"}})
    with pytest.raises(InputError, match="'kwargs' is missing"):
        opening.load_run(copied)
    write_json(copied / "config.json", stored | {"model": {"name": "resnet", "kwargs": {}}})
    with pytest.raises(InputError, match="resnet"):
        opening.load_run(copied)
    for model in (
        3,
        {"name": ["x"], "kwargs": {}},
        {"name": "hybrid_1x32", "kwargs": 5},
        {"name": "hybrid_1x32", "kwargs": {"width": "x"}},
    ):
        write_json(copied / "config.json", stored | {"model": model})
        with pytest.raises(InputError, match="config.json|width") as caught:
            opening.load_run(copied)
        assert "\n" not in str(caught.value)


def test_damaged_state(copied: Path) -> None:
    path = copied / "training.pt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="is damaged, not a readable training") as caught:
        checkpoint.load_state(copied)
    assert "\n" not in str(caught.value)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="not a training state but a list"):
        checkpoint.load_state(copied)
    path.unlink()
    with pytest.raises(InputError, match="holds no training.pt"):
        checkpoint.load_state(copied)


class Planted:
    """Would create a file if the training state were unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_state_executes_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "training.pt", "wb") as file:
        pickle.dump(Planted(tmp_path / "planted"), file, protocol=2)
    with pytest.raises(InputError, match="not a readable training state"):
        checkpoint.load_state(tmp_path)
    assert not (tmp_path / "planted").exists()


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        opening.load_run(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no config.json"):
        opening.load_run(tmp_path)
