"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

# Without a GPU the Triton kernels are tested under Triton's interpreter, chosen at its import.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images and official annotation files; tests skip where it is absent."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    root = Path(os.environ.get("SOFTGATE_DATA", default)).resolve()
    if not (root / "lsp_dataset" / "joints.mat").is_file():
        pytest.skip(f"needs the data folder (set SOFTGATE_DATA); looked at {root}")
    return root
