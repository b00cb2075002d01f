"""Runs scripts of this folder in a process of their own, with Triton's JIT instead of its interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def lines_of(*command: str) -> list[dict]:
    """The JSON lines that a script of this folder prints."""
    if sys.platform != "linux":
        pytest.skip("needs Linux: Triton compiles nowhere else")
    pytest.importorskip("triton")
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {
        "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{env.get('PYTHONPATH', '')}",
        "SOFTGATE_BACKEND": "auto",
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    script, *args = command
    done = subprocess.run(
        [sys.executable, str(HERE / script), *args], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
