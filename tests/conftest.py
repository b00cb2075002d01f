"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

# Without a GPU the Triton kernels are tested under Triton's interpreter, chosen at its import.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from softgate_ext.ops.backend import unavailable  # noqa: E402


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend of compiled kernels, to compare with the reference: by name also its device."""
    reason = unavailable(request.param)
    if reason is not None:
        pytest.skip(f"needs the compiled {request.param} kernels: {reason}")
    # Ten bits of a convolution's input would drown what is compared.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    return request.param


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images and official annotation files; tests skip where it is absent."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    root = Path(os.environ.get("SOFTGATE_DATA", default)).resolve()
    if not (root / "lsp_dataset" / "joints.mat").is_file():
        pytest.skip(f"needs the data folder (set SOFTGATE_DATA); looked at {root}")
    return root
