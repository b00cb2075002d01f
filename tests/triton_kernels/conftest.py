"""The device for the shared test bodies, tapes for the interpreter, and a patch of the interpreter."""

import sys
from pathlib import Path

import pytest
import torch

from softgate_ext import use_backend
from softgate_ext.ops.backend import interpreting, unavailable
from softgate_ext.ops.triton import IMPLEMENTATIONS

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "ops")]


def pytest_collection_modifyitems(config, items):
    """Thins ``test_parity.py`` out for the interpreter; see there. On a GPU what runs on the device
    is marked so: ``make gpu`` leaves out other slow tests.
    """
    parity = [i for i in items if i.path.name == "test_parity.py"]
    if not interpreting():
        for item in items:
            if HERE in item.path.parents and "device" in item.fixturenames:
                item.add_marker(pytest.mark.gpu)
    elif parity:
        dropped = {id(i) for n, i in enumerate(parity) if n % 13}
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


class Interpreted:
    """What the interpreter would have compiled: runs the same kernel again, and notes it."""

    def __init__(self, kernel, run, played: list):
        self.kernel, self.run, self.played = kernel, run, played

    def __getitem__(self, grid):
        def call(*args):
            self.played.append(self.kernel)
            self.run(self.kernel, *args, grid=grid, warmup=False)

        return call


@pytest.fixture
def played(monkeypatch):
    """The kernels that tapes play, as on a GPU: the interpreter alone would leave none to play."""
    if not interpreting():
        pytest.skip("needs TRITON_INTERPRET=1: on a GPU every other test plays tapes")
    from softgate_ext.triton_kernels import replay
    from triton.runtime.interpreter import InterpretedFunction

    run, found = InterpretedFunction.run, []

    def compile_and_run(self, *args, **options):
        run(self, *args, **options)
        return Interpreted(self, run, found)

    monkeypatch.setattr(InterpretedFunction, "run", compile_and_run)
    yield found
    for implementation in IMPLEMENTATIONS.values():
        tape_keeper = implementation.prepared[0]
        if isinstance(tape_keeper, replay.Replayed):
            tape_keeper.tapes.clear()
