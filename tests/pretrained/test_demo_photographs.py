"""The first part of the demo: shipped weights on photographs."""

import os
from pathlib import Path

import pytest
from rich.console import Console
from shelf import Shelf

from softgate_ext.commands import demo_photographs as photographs
from softgate_ext.data.images import read_image


def test_photographs(
    tiny_weights: Shelf, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a folder, else the one in the package; what is missing costs a sentence."""
    monkeypatch.setattr(photographs, "DEFAULT", "tiny")
    console = Console(record=True, width=100, file=open(os.devnull, "w"))  # noqa: SIM115
    (drawn,) = photographs.show_photographs(None, tmp_path / "out", console)
    assert drawn == tmp_path / "out" / "photographer.png"
    assert read_image(drawn).shape == read_image(photographs.PHOTOGRAPH).shape
    found = photographs.show_photographs(people / "images", tmp_path / "others", console)
    assert len(found) == len(os.listdir(people / "images"))
    monkeypatch.setattr(photographs, "DEFAULT", "absent")
    assert photographs.show_photographs(None, tmp_path / "out", console) == []
    text = console.export_text()
    assert "does not ship the weights absent" in text
