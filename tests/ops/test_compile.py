"""Every op in one graph of `torch.compile`: forward and backward, any batch size, updated statistics."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from cases import Case, call, make_inputs, outputs_and_gradients
from test_registration import CASES
from torch._dynamo.utils import counters

names = pytest.mark.parametrize("name", CASES)
# The hardest by default: it traces more than the others.
ways = pytest.mark.parametrize(
    ("training", "dynamic"),
    [
        pytest.param(training, dynamic, marks=[] if training and dynamic else pytest.mark.slow)
        for training in (True, False)
        for dynamic in (True, False)
    ],
)


@pytest.fixture(autouse=True)
def one_graph():
    """A second graph is an error: whether by a break or by a recompilation."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    torch._dynamo.reset()


# Sizes that are equal in the first call are taken for the same one: no other side is 7.
DYNAMIC = (7, 9, 11)


def steps(case: Case, sizes: Sequence[int], backend: str = "aot_eager") -> None:
    """Batches of these sizes, compiled for any size if they differ, against the op called eagerly."""
    dynamic = len(set(sizes)) > 1
    compiled = torch.compile(
        lambda i: call(case, i), fullgraph=True, dynamic=dynamic, backend=backend
    )
    for seed, n in enumerate(sizes):
        case = replace(case, size=(n, *case.size[1:]), seed=seed)
        mine, other = make_inputs(case).cast(), make_inputs(case).cast()
        expected = outputs_and_gradients(case, *call(case, other), other)
        got = outputs_and_gradients(case, *compiled(mine), mine)
        assert got.keys() == expected.keys()
        for name, want in expected.items():
            torch.testing.assert_close(got[name], want, msg=name)
            assert got[name].stride() == want.stride(), name


@names
@ways
def test_one_graph(name, training, dynamic):
    """channels_last where the batch is dynamic, contiguous where it is static."""
    case = replace(CASES[name], training=training, channels_last=dynamic)
    steps(case, DYNAMIC if dynamic else (2, 2, 2))


@pytest.mark.slow
def test_inductor():
    case = replace(CASES["skip_merge_bn_relu-concat"], dtype=torch.bfloat16)
    steps(case, DYNAMIC, "inductor")
