"""A fixture that resets torch.compile before every test."""

import pytest
import torch
from comparison import Fusions
from convolved import Graphs


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


@pytest.fixture
def fusions(monkeypatch) -> Fusions:
    return Fusions(monkeypatch)


@pytest.fixture
def graphs(monkeypatch) -> Graphs:
    return Graphs(monkeypatch)
