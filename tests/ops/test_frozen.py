"""Where no gradient is needed, nothing is kept for it and none is computed."""

import pytest
import torch
from cases import call, make_inputs
from test_registration import CASES
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext import use_backend
from softgate_ext.ops.backend import is_available

names = pytest.mark.parametrize("name", CASES)
# In the order of a backward op's `needs`; the branches share one entry.
INPUTS = ("x", "branches", "low", "alpha", "weight", "bias")


@pytest.fixture(params=["auto", pytest.param("triton", marks=pytest.mark.slow)], autouse=True)
def backend(request):
    """The compiled kernels have their autograd in C++, the others in Python."""
    if not is_available(request.param):
        pytest.skip(f"{request.param} cannot serve here")
    with use_backend(request.param):
        yield


class Backwards(TorchDispatchMode):
    """What each backward op is asked for, and how many gradients it returns."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[list[bool], int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace.startswith("softgate"):
            self.calls += [(args[-1], len(result))] * func._schema.name.endswith("_backward")
        return result


def kept_by(function) -> list[Tensor]:
    """The tensors that the graph of `function` holds on to."""
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        function()
    return kept


def inputs_of(name: str, frozen: tuple[str, ...]):
    inputs = make_inputs(CASES[name]).cast()
    if not CASES[name].norm:
        inputs.weight = inputs.bias = None
    for leaf, t in inputs.differentiable().items():
        t.requires_grad_(leaf.split("[")[0] not in frozen)
    return inputs


@names
@pytest.mark.parametrize(
    "frozen", [(), ("alpha",), ("weight", "bias"), ("bias",), ("x",), ("branches", "low")], ids=str
)
def test_backward_computes_the_wanted_gradients_only(name, frozen):
    inputs = inputs_of(name, frozen)
    leaves = inputs.differentiable()
    outputs = [t for t in call(CASES[name], inputs) if t is not None and t.requires_grad]
    with Backwards() as log:
        sum(t.sum() for t in outputs).backward()
    has = {leaf.split("[")[0] for leaf in leaves}
    order = [i for i in INPUTS if i in has or (i == "branches" and not CASES[name].plain)]
    ((needs, count),) = log.calls
    assert needs == [i in has and i not in frozen for i in order]
    assert count == sum(t.requires_grad for t in leaves.values())
    assert [leaf for leaf, t in leaves.items() if (t.grad is not None) != t.requires_grad] == []


@names
def test_nothing_is_kept_where_all_are_frozen(name):
    inputs = inputs_of(name, INPUTS)
    assert kept_by(lambda: call(CASES[name], inputs)) == []
    learning = inputs_of(name, ())
    assert kept_by(lambda: call(CASES[name], learning)) != []
    with torch.no_grad():
        assert kept_by(lambda: call(CASES[name], learning)) == []
    with torch.inference_mode():
        assert kept_by(lambda: call(CASES[name], learning)) == []


@pytest.mark.parametrize("name", [n for n in CASES if n != "bn_relu"])
def test_the_skip_is_kept_for_its_gate_alone(name):
    for frozen, expected in ((("alpha",), False), ((), True), (("x", "branches"), True)):
        inputs = inputs_of(name, frozen)
        kept = [t.data_ptr() for t in kept_by(lambda i=inputs: call(CASES[name], i))]
        assert (inputs.x.data_ptr() in kept) is expected
        activations = (*inputs.branches, *([] if inputs.low is None else [inputs.low]))
        assert not any(t.data_ptr() in kept for t in activations)
