"""Compares the stored weights of two runs."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
