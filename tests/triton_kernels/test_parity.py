"""The bodies of ``tests/ops/test_values.py`` with the Triton kernels behind the ops.

All of them on a GPU. Triton's interpreter takes a second for what a GPU does in a millisecond:
there every seventh case runs, among the slow tests, and none of the large tensors.
"""

import pytest
import test_values

from softgate_ext.backend import interpreting

bodies = {k: v for k, v in vars(test_values).items() if k.startswith("test_")}
if interpreting():
    del bodies["test_large_enough_to_stream"]
globals().update(bodies)

pytestmark = [pytest.mark.slow] if interpreting() else []
