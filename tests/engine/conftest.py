"""A few drawn people, the smallest network, and a run of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from softgate_ext.data.synthetic import draw_people
from softgate_ext.engine.train import train
from softgate_ext.engine.train_config import TrainConfig

TINY: dict[str, Any] = {
    "model": "hybrid_1x32",
    "model_options": {"width": 8, "depth": 2, "groups": 1},
    "image_size": 64,
    "batch_size": 4,
    "lr": 1e-3,
    "workers": 0,
    "device": "cpu",
    "amp": "off",
    "plots": False,
}


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The networks here are too small for more, and the same steps then give the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn people in LSP's format."""
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", 16, seed=3, image_size=80)


@pytest.fixture(scope="session")
def tiny_options() -> dict[str, Any]:
    """The smallest network and how it is trained, as arguments of TrainConfig."""
    return TINY


@pytest.fixture(scope="session")
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture
def tiny(people: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Makes the configuration of a training of a second or two."""

    def make(**changes: Any) -> TrainConfig:
        return TrainConfig(
            **{"data": people, "out": tmp_path / "run", "epochs": 2, **TINY, **changes}
        )

    return make


@pytest.fixture(scope="session")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory, quiet: Console) -> Path:
    """A finished run; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(TrainConfig(data=people, out=out, epochs=2, **(TINY | {"plots": True})), quiet)
    return out
