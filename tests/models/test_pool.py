"""The networks' max pooling equals PyTorch's, and keeps indices only for a gradient."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx import symbolic_trace
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext.models import create_model
from softgate_ext.models.pool import max_pool_by_2


class Ops(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.names.append(op.name())
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_without_a_record_is_the_same(size, layout):
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout)
    x[0, 0, 0, 1] = torch.nan
    with Ops() as ops:
        got = max_pool_by_2(x)
    assert "aten::maximum" in ops.names
    assert torch.equal(got.nan_to_num(9), F.max_pool2d(x, 2).nan_to_num(9))
    assert got.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (0, 4)])
def test_pooling_refuses_what_is_too_small(size):
    x = torch.randn(2, 3, *size)
    with pytest.raises(RuntimeError) as wanted:
        F.max_pool2d(x, 2)
    with pytest.raises(RuntimeError) as got:
        max_pool_by_2(x)
    assert str(got.value) == str(wanted.value)


def test_derivatives_go_to_the_first_of_equal_values():
    x, change = torch.zeros(1, 1, 4, 4), torch.arange(16.0).view(1, 1, 4, 4)
    gradients = []
    for pool in (max_pool_by_2, lambda t: F.max_pool2d(t, 2)):
        leaf = x.clone().requires_grad_()
        pool(leaf).sum().backward()
        with forward_ad.dual_level():
            forward = forward_ad.unpack_dual(pool(forward_ad.make_dual(x, change))).tangent
        by_function = torch.func.grad(lambda t, pool=pool: pool(t).sum())(x)
        gradients.append((leaf.grad, forward, by_function))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_networks_pool_so_in_evaluation_and_are_traced():
    model, x = create_model("hybrid_1x32", depth=1).eval(), torch.rand(1, 3, 8, 8)
    with torch.no_grad(), Ops() as ops:
        wanted = model(x)
    assert not [name for name in ops.names if "max_pool" in name]
    with Ops() as ops:
        model(x)
    assert len([name for name in ops.names if "max_pool" in name]) == 2
    assert torch.equal(symbolic_trace(model)(x)[0], wanted[0])
