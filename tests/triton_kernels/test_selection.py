"""Which of these tests `make gpu` runs on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_slow_tests_of_the_device_belong_to_the_gpu():
    """Collected as on a GPU, where the interpreter is off, with the selection of `make gpu`."""
    files = [str(HERE / name) for name in ("test_compile_triton.py", "test_dispatch.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "gpu and slow", *files],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    for name in ("test_one_graph", "test_opcheck", "test_opcheck_of_backward"):
        assert f"::{name}[" in done.stdout, done.stdout + done.stderr
