"""A fixture that runs the kernels: in the emulator, which is built once per session, or on a GPU."""

from pathlib import Path

import emulator_build
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """The tensors are small: torch's threads would spend more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def emulator() -> Path:
    reason = emulator_build.why_not()
    if reason:
        pytest.skip(reason)
    return emulator_build.build()


@pytest.fixture(scope="session", params=["emulator", pytest.param("gpu", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Path:
    """Where the cases that only look at values run: both say the same."""
    if request.param == "emulator":
        return request.getfixturevalue("emulator")
    reason = emulator_build.why_no_gpu()
    if reason:
        pytest.skip(reason)
    return emulator_build.build_on_device()
