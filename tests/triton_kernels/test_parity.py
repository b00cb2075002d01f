"""The bodies of ``tests/ops/test_values.py`` and ``test_closed_gates.py`` with the Triton kernels behind the ops.

All of them on a GPU. Triton's interpreter takes a second for what a GPU does in a millisecond:
there every thirteenth case runs, among the slow tests, and none of the large tensors and of the bits
that threads could change: it has one.
"""

import pytest
import test_closed_gates
import test_values

from softgate_ext.ops.backend import interpreting

bodies = {
    k: v
    for module in (test_values, test_closed_gates)
    for k, v in vars(module).items()
    if k.startswith("test_")
}
if interpreting():
    del bodies["test_large_enough_to_stream"]
    del bodies["test_deterministic_and_independent_of_threads"]
globals().update(bodies)

pytestmark = [pytest.mark.slow, pytest.mark.proof("triton")] if interpreting() else []
