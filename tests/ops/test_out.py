"""Results of `_C` in memory of the caller (`out=`), as the plan of a folded network uses them."""

from functools import partial

import pytest
import torch
from torch import Tensor

from softgate_ext import InputError
from softgate_ext.ops import backend

pytestmark = pytest.mark.skipif(backend.extension() is None, reason="needs the compiled extension")


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(1, 4, 4, 4),
        torch.zeros(1, 4, 6, 6, dtype=torch.float64),
        torch.zeros(1, 4, 6, 6).to(memory_format=torch.channels_last),
    ],
    ids=["shape", "dtype", "layout"],
)
def test_memory_for_a_result_that_does_not_fit_is_refused(out: Tensor) -> None:
    x = torch.rand(1, 4, 6, 6)
    with pytest.raises(InputError, match="out must have the dtype, device and layout"):
        backend.extension().gated_residual(x, [x], None, out=[out])
    good = torch.empty_like(x)
    backend.extension().gated_residual(x, [x], None, out=[good])
    assert torch.equal(good, 2 * x)


@pytest.mark.parametrize("shift", [1, 16, 72])
@pytest.mark.parametrize("name", ["x", "a branch"])
def test_memory_for_a_result_is_an_input_or_apart_from_all(shift: int, name: str) -> None:
    whole = torch.rand(4, 144)
    inputs = {key: torch.rand(1, 4, 6, 6) for key in ("x", "a branch")}
    flat = whole.view(-1)
    inputs[name] = flat[:144].view(1, 4, 6, 6)
    out = flat[shift : shift + 144].view(1, 4, 6, 6)
    gate = partial(backend.extension().gated_residual, inputs["x"], [inputs["a branch"]], None)
    with pytest.raises(InputError, match=f"must be {name} itself or share no memory with it"):
        gate(out=[out])
    expected = inputs["x"] + inputs["a branch"]
    gate(out=[inputs[name]])
    assert torch.equal(inputs[name], expected)


def test_results_need_memory_apart_and_without_a_gradient() -> None:
    x, statistics = torch.rand(1, 4, 6, 6), (torch.zeros(4), torch.ones(4))
    both = partial(backend.extension().gated_residual_bn_relu, x, [x], None, *statistics)
    with pytest.raises(InputError, match=r"out\[1\] must not share memory with out\[0\]"):
        both(None, None, False, 1e-5, True, out=[out := torch.zeros_like(x), out])
    with pytest.raises(InputError, match=r"out\[0\] must not require a gradient"):
        both(None, None, False, 1e-5, True, out=[torch.zeros_like(x, requires_grad=True), out])


def test_a_result_written_over_a_saved_tensor_is_noticed() -> None:
    x, weight = torch.rand(1, 4, 6, 6), torch.rand(1, 4, 6, 6, requires_grad=True)
    out = torch.rand(1, 4, 6, 6)
    product = weight * out
    backend.extension().gated_residual(x, [x], None, out=[out])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
