"""The plots of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.figures.curves import learning_curve
from softgate_ext.figures.gate_histograms import gate_histograms
from softgate_ext.figures.style import BLUE, ORANGE
from softgate_ext.files.png import write_png


def entries(count: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": i,
            "loss": 1e-3 / i,
            "watched": {"metric": "PCK@0.2", "main": 5.0 * i, "mean": 4.5 * i} if i % 2 else None,
        }
        for i in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_learning_curve_of_any_length(tmp_path: Path, count: int) -> None:
    learning_curve(entries(count), tmp_path / "curve.png", baseline=18.0)
    picture = read_image(tmp_path / "curve.png")
    assert picture.std() > 5


@pytest.mark.parametrize("count", [1, 2])
def test_one_epoch_is_drawn_too(tmp_path: Path, count: int) -> None:
    """As a dot: a line through one point has no pixels. Counted in the colours of the curves."""
    learning_curve(entries(count), tmp_path / "curve.png")
    picture = read_image(tmp_path / "curve.png").astype(int)
    middle = picture.shape[1] // 2
    legend = (slice(0, picture.shape[0] // 3), slice(middle, None))
    picture[legend] = 255
    for colour, half in ((BLUE, picture[:, :middle]), (BLUE, picture[:, middle:]),
                         (ORANGE, picture[:, middle:])):  # fmt: skip
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(half - wanted).max(-1) < 40).sum() > 20, colour


def test_gates_of_any_kind(tmp_path: Path) -> None:
    gates = {
        "stem.block1": torch.randn(16),
        "stacks.0.block": torch.tensor([0.5]),
        "stacks.0.out": torch.full((8,), 3.0),
        "without": torch.zeros(0),
    }
    gate_histograms(gates, tmp_path / "gates.png")
    assert read_image(tmp_path / "gates.png").std() > 5


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gates"):
        gate_histograms({}, tmp_path / "gates.png")
    with pytest.raises(InputError, match="log is empty"):
        learning_curve([], tmp_path / "curve.png")
    with pytest.raises(InputError, match="cannot write"):
        learning_curve(entries(2), tmp_path / "absent" / "curve.png")
    assert not list(tmp_path.iterdir())


def test_png_keeps_colours(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
