"""The extension with CUDA kernels works on a machine without a visible GPU."""

import os
import subprocess
import sys

import pytest

from softgate_ext.ops import backend

SERVE = """
import torch
from softgate_ext import ops, use_backend
from softgate_ext.ops import backend
from softgate_ext.errors import InputError
assert backend.info()["build"]["cuda"]
x = torch.ones(2, 4, 4, 4, requires_grad=True)
with use_backend("cpu"):
    y, z = ops.gated_residual_bn_relu(x, [x], torch.full((4,), 2.0), None, None, training=True)
(y.sum() + z.sum()).backward()
print(y.sum().item(), x.grad.sum().item())
try:
    use_backend("cuda").__enter__()
except InputError as error:
    print(error)
"""


def test_serves_cpu_tensors_without_a_gpu():
    if not backend.info()["build"].get("cuda"):
        pytest.skip("the extension was built without CUDA kernels")
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    values, refusal = done.stdout.splitlines()
    assert values == "384.0 384.0"
    assert refusal.endswith("which cannot serve here: torch sees no CUDA device")
