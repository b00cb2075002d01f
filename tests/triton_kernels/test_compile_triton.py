"""The tests of ``tests/ops/test_compile.py`` with the Triton kernels.

Under the interpreter a graph keeps the op; ``test_dispatch.py`` shows how it dissolves on a GPU.
"""

from dataclasses import replace

import pytest
import torch
from test_compile import one_graph, steps  # noqa: F401
from test_registration import CASES

from softgate_ext.ops.backend import interpreting


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_graph(name, device):
    steps(replace(CASES[name], size=(2, 8, 4, 6), device=device), (7, 9))


@pytest.mark.gpu
@pytest.mark.skipif(interpreting(), reason="needs a GPU: under the interpreter no op dissolves")
@pytest.mark.parametrize("name", ["gated_residual_bn_relu", "skip_merge_bn_relu-concat"])
def test_inductor(name, device):
    """Inductor schedules the launches, with buffers of its own, and is right for any batch."""
    steps(replace(CASES[name], dtype=torch.bfloat16, device=device), (7, 9), "inductor")
