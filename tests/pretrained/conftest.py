"""Small shipped weights: a tiny run, published into a folder of the test."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from shelf import Shelf

from softgate_ext.commands import publication, training_account
from softgate_ext.commands.publication_config import PublishConfig
from softgate_ext.pretrained import shipped


@pytest.fixture
def shelf(
    run: Path, tmp_path: Path, quiet: Console, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> Shelf:
    """An empty one, in place of the package's."""
    folder, sources = tmp_path / "shelf", tmp_path / "sources"
    folder.mkdir()
    (sources / "docs").mkdir(parents=True)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.setattr(publication, "SOURCES", sources)
    monkeypatch.setattr(training_account, "commit_named", lambda name: name)
    monkeypatch.chdir(tmp_path)  # where no `runs` are

    def publish(of: Path = run, name: str = "tiny", **changes: Any) -> dict[str, Any]:
        options = {"commit": ("f" * 40,), "cores": 1, "workers": 0, **changes}
        return publication.publish(PublishConfig(of, name, **options), quiet)

    return Shelf(folder, sources / "docs" / "models.md", publish)


@pytest.fixture
def tiny_weights(shelf: Shelf) -> Shelf:
    """One with the weights "tiny" in it."""
    shelf.publish()
    return shelf


@pytest.fixture
def copied_run(run: Path, tmp_path: Path) -> Path:
    """A run that the test may change."""
    return Path(shutil.copytree(run, tmp_path / "copied"))
