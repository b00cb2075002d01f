"""A fixture with a small dataset of drawn people, which is written once."""

from pathlib import Path

import pytest

from softgate_ext.data.synthetic import draw_people


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn people in LSP's format; not to be changed."""
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", count=12, seed=3)
