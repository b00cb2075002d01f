"""Every test starts with nothing compiled; the slow ones are a proof that is kept."""

from pathlib import Path

import pytest
import torch
from comparison import Fusions
from convolved import Graphs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.proof("compiler"))


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
