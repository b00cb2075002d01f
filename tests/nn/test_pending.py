"""A pending residual is computed once, by the first module that needs it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from softgate_ext import ops
from softgate_ext.nn import SoftGatedBlock
from softgate_ext.nn._pending import Chained, Pending


@pytest.fixture
def calls(monkeypatch):
    """Names of the ops called, in order."""
    names: list[str] = []
    for name in ops.__all__:
        op = getattr(ops, name)

        def record(*args, _name=name, _op=op, **kwargs):
            names.append(_name)
            return _op(*args, **kwargs)

        monkeypatch.setattr(ops, name, record)
    return names


def parts():
    generator = torch.Generator().manual_seed(1)
    x, a, b, low = (
        torch.randn(2, c, s, s, generator=generator) for c, s in ((6, 4), (2, 4), (4, 4), (6, 2))
    )
    return x, (a, b), torch.linspace(-1, 1, 6), low


def test_first_consumer_completes_and_the_others_find_it(calls):
    x, branches, alpha, _ = parts()
    pending = Pending(x, branches, alpha)
    expected = alpha.view(1, -1, 1, 1) * x + torch.cat(branches, 1)
    bn1, bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
    y, z1 = pending.complete_bn_relu(bn1)
    again, z2 = pending.complete_bn_relu(bn2)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(z1, F.relu(nn.BatchNorm2d(6)(expected)))
    torch.testing.assert_close(z2, z1)
    assert again is y and pending.complete() is y
    assert calls == ["gated_residual_bn_relu", "bn_relu"]
    assert pending.branches == () and pending.alpha is None  # their memory is let go


def test_a_tensor_is_complete(calls):
    x = parts()[0]
    pending = Pending.of(x)
    assert pending.complete() is x and calls == []
    assert Pending.of(pending) is pending


@pytest.mark.parametrize("mode", ["concat", "add"])
@pytest.mark.parametrize("norm", [True, False])
def test_a_residual_is_completed_inside_the_merge(calls, mode, norm):
    x, branches, alpha, low = parts()
    skip = alpha.view(1, -1, 1, 1) * x + torch.cat(branches, 1)
    up = low.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = torch.cat([skip, up], 1) if mode == "concat" else skip + up
    merge = Pending(x, branches, alpha).merge(low, mode)
    if norm:
        bn = nn.BatchNorm2d(expected.shape[1])
        merged, z = merge.complete_bn_relu(bn)
        torch.testing.assert_close(z, F.relu(nn.BatchNorm2d(expected.shape[1])(expected)))
    else:
        merged = merge.complete()
    torch.testing.assert_close(merged, expected)
    assert merge.complete() is merged
    assert calls == ["skip_merge_bn_relu" if norm else "skip_merge"]


def test_what_a_merge_took_over_is_read_there_alone(calls):
    """It was summed a second time, and silently: the merge has its own copy of the parts."""
    x, branches, alpha, low = parts()
    skip = Pending(x, branches, alpha)
    merge = skip.merge(low, "add")
    readers = (
        skip.complete,
        lambda: skip.complete_bn_relu(nn.BatchNorm2d(6)),
        lambda: skip.merge(low, "add"),
    )
    for read in readers:
        with pytest.raises(RuntimeError, match="became part of a merge"):
            read()
    merge.complete()
    assert calls == ["skip_merge"]
    done = Pending.of(x)  # a sum that is there may be read by all
    done.merge(low, "add")
    assert done.complete() is x


def test_a_merge_within_a_merge(calls):
    """The low half of the first was lost."""
    x, branches, alpha, low = parts()
    expected = Pending(x, branches, alpha).merge(low, "add").complete() + F.interpolate(
        2 * low, scale_factor=2
    )
    inner = Pending(x, branches, alpha).merge(low, "add")
    torch.testing.assert_close(inner.merge(2 * low, "add").complete(), expected)
    assert calls == ["skip_merge"] * 3


def test_a_module_says_itself_whether_it_takes_them():
    """Wherever it is defined; a subclass with a forward of its own has to say so again."""

    class Own(SoftGatedBlock):
        def forward(self, x, complete=True):
            return super().forward(x, complete)

    class Said(Own):
        takes_pending = True

    class Kept(Said):
        pass

    class Unwilling(SoftGatedBlock):
        takes_pending = False

    found = [c.takes_pending for c in (SoftGatedBlock, Own, Said, Kept, Unwilling, Chained)]
    assert found == [True, False, True, True, False, False]
    assert Kept.__module__.partition(".")[0] != "softgate_ext"
