"""Fixtures that all tests share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proofs
import pytest
import torch

if TYPE_CHECKING:
    from rich.console import Console

    from softgate_ext.runs.train_config import TrainConfig

# Without a GPU the Triton kernels are tested under Triton's interpreter, chosen at its import.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from softgate_ext.ops.backend import unavailable  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prove",
        choices=[*proofs.PROOFS],
        help="run the tests of this proof alone, all of them (tests/proofs.py)",
    )


@pytest.hookimpl(trylast=True)  # what `-m` and `-k` leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("prove")
    if wanted is None:
        proofs.pass_over(items)
        return
    others = [item for item in items if proofs.name_of(item) != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if proofs.name_of(item) == wanted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that was skipped has proven nothing."""
    report = yield
    if item.config.getoption("prove") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend of compiled kernels, to compare with the reference: by name also its device."""
    reason = unavailable(request.param)
    if reason is not None:
        pytest.skip(f"needs the compiled {request.param} kernels: {reason}")
    # Ten bits of a convolution's input would drown what is compared.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    return request.param


@pytest.fixture(params=["baseline", "avx2"])
def narrower_vectors(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Runs the tests of the same file that an expression chooses, with narrower vectors than the
    processor has."""

    def run(chosen: str) -> None:
        env = {**os.environ, "SOFTGATE_ISA": request.param}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [str(request.path), "-k", chosen]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and " passed" in done.stdout, done.stdout

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images and official annotation files; tests skip where it is absent."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    root = Path(os.environ.get("SOFTGATE_DATA", default)).resolve()
    if not (root / "lsp_dataset" / "joints.mat").is_file():
        pytest.skip(f"needs the data folder (set SOFTGATE_DATA); looked at {root}")
    return root


# The network, and how it is trained, of tests that train: TrainConfig's arguments.
TINY: dict[str, Any] = {
    "model": "hybrid_1x32",
    "model_options": {"width": 8, "depth": 2, "groups": 1},
    "image_size": 64,
    "batch_size": 4,
    "optimizer": "rmsprop",
    "lr": 1e-3,
    "workers": 0,
    "device": "cpu",
    "amp": "off",
    "plots": False,
}


# Here and below, what only the tests of the pose system need is imported by those who use it.
@pytest.fixture
def one_thread() -> Iterator[None]:
    """The networks here are too small for more, and the same steps then give the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn people in LSP's format."""
    from softgate_ext.data.synthetic import draw_people

    return draw_people(tmp_path_factory.mktemp("drawn") / "people", 16, seed=3, image_size=80)


@pytest.fixture(scope="session")
def tiny_options() -> dict[str, Any]:
    """The smallest network and how it is trained, as arguments of TrainConfig."""
    return TINY


@pytest.fixture(scope="session")
def quiet() -> "Console":
    from rich.console import Console

    return Console(quiet=True)


@pytest.fixture
def tiny(people: Path, tmp_path: Path, one_thread: None) -> "Callable[..., TrainConfig]":
    """Makes the configuration of a training of a second or two."""
    from softgate_ext.runs.train_config import TrainConfig

    def make(**changes: Any) -> TrainConfig:
        return TrainConfig(
            **{"data": people, "out": tmp_path / "run", "epochs": 2, **TINY, **changes}
        )

    return make


@pytest.fixture(scope="session")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory, quiet: "Console") -> Path:
    """A finished run; tests must leave it as it is."""
    from softgate_ext.runs.train_config import TrainConfig
    from softgate_ext.training.trainer import train

    out = tmp_path_factory.mktemp("trained") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as `one_thread`
    train(TrainConfig(data=people, out=out, epochs=2, **(TINY | {"plots": True})), quiet)
    torch.set_num_threads(before)
    return out
