"""The device for the ops' test bodies, and a repair of Triton's interpreter."""

import sys
from pathlib import Path

import pytest
import torch

from softgate_ext import use_backend
from softgate_ext.backend import interpreting, unavailable

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "ops")]


def pytest_collection_modifyitems(config, items):
    """Thins ``test_parity.py`` out for the interpreter; see there."""
    parity = [i for i in items if i.path.name == "test_parity.py"]
    if interpreting() and parity:
        dropped = {id(i) for n, i in enumerate(parity) if n % 7}
        config.hook.pytest_deselected(items=[i for i in parity if id(i) in dropped])
        items[:] = [i for i in items if id(i) not in dropped]


@pytest.fixture
def device():
    """The device that the Triton kernels serve here, with their backend in force."""
    reason = unavailable("triton")
    if reason is not None:
        pytest.skip(f"needs the Triton kernels: {reason}")
    with use_backend("triton"):
        yield "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True, scope="session")
def bfloat16_rounds_to_nearest():
    """The interpreter of Triton 3.9 cuts bfloat16 off, where every GPU rounds to nearest even."""
    if not interpreting():
        yield
        return
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(values, source, target, mode):
        if target != tl.bfloat16 or source != tl.float32:
            return convert(values, source, target, mode)
        bits = torch.tensor(values).bfloat16().view(torch.uint16)
        return bits.numpy().reshape(values.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_convert_float", rounded)
        yield
