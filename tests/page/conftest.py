"""An untrained run, a drawn image, and the page served by the command line."""

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from served_page import Served, served_by, started

from softgate_ext.data.synthetic import draw_people
from softgate_ext.files.tensors import save_tensors
from softgate_ext.models import create_model
from softgate_ext.runs.checkpoint import save_config
from softgate_ext.runs.places import WEIGHTS
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smallest network, as it is before training."""
    folder = tmp_path_factory.mktemp("page") / "untrained"
    folder.mkdir()
    kwargs = {"width": 8, "depth": 2, "groups": 1, "joints": 14}
    torch.manual_seed(0)
    model = create_model("hybrid_1x32", **kwargs)
    training = TrainConfig(Path("data"), folder)
    about = {"name": "hybrid_1x32", "kwargs": kwargs}
    save_config(folder, RunConfig(about, "lsp", 64, 1.0, 1.2, training))
    save_tensors(folder / WEIGHTS["last"], model.state_dict(), {})
    return folder


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    people = draw_people(tmp_path_factory.mktemp("drawn") / "people", 2, seed=1, image_size=80)
    return people / "images" / "im0001.jpg"


@pytest.fixture(scope="session")
def extra() -> None:
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs the extra serve: {name} is not installed")


@pytest.fixture(scope="session")
def served(
    extra: None, untrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The page, with small limits; it says nothing to the end, and writes nothing."""
    # SOFTGATE_PAGE_RUN serves a trained run in its place: for a screenshot worth looking at.
    run = Path(os.environ.get("SOFTGATE_PAGE_RUN", untrained))
    temporary = tmp_path_factory.mktemp("temporary")
    with started(run, temporary) as process:
        yield served_by(process, run)
        assert not list(temporary.iterdir())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and errors == "", errors
