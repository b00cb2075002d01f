"""The bodies of ``tests/ops/test_compile.py`` with the Triton kernels behind the ops.

Under the interpreter a graph keeps the op; ``test_dispatch.py`` shows how it dissolves on a GPU.
"""

from dataclasses import replace

import pytest
from test_compile import one_graph, steps  # noqa: F401
from test_registration import CASES


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_graph(name, device):
    steps(replace(CASES[name], size=(2, 8, 4, 6), device=device), (7, 9))
