"""The emulator, built once a session."""

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
