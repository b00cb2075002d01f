"""Which backends the module tests compare."""

import pytest

from softgate_ext.backend import unavailable


@pytest.fixture
def fused() -> str:
    """Name of the compiled CPU backend; tests that compare it with the reference skip without."""
    reason = unavailable("cpu")
    if reason is not None:
        pytest.skip(f"needs the compiled CPU kernels: {reason}")
    return "cpu"
