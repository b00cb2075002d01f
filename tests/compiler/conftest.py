"""Every test starts with nothing compiled."""

import pytest
import torch
from comparison import Fusions


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


@pytest.fixture
def fusions(monkeypatch) -> Fusions:
    return Fusions(monkeypatch)
