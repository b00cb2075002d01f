"""The replay of launches for arguments seen before, with kernels made of tensor code."""

from dataclasses import replace

import pytest
import torch
from cases import Case, check
from softgate_ext.triton_kernels import launch, replay

from softgate_ext import triton_kernels


class Scale:
    """Stands in for a kernel and for what it compiles to: out = (x + y) * factor, sums."""

    def __init__(self):
        self.first, self.played = 0, 0

    def __getitem__(self, grid):
        return lambda *args, **options: self._run(grid, *args, **options)

    def _run(self, grid, x, y, none, out, factor, num_warps=None):
        assert none is None
        out.copy_((x + y) * factor)
        if num_warps is None:
            assert grid == (5, 1, 1)
            self.played += 1
        else:
            self.first += 1
        return self


@pytest.fixture
def kernel():
    return Scale()


@pytest.fixture
def op(kernel):
    def call(x, others, factor):
        y = launch.dense(others[0], torch.contiguous_format)
        middle, out = torch.empty_like(x), torch.empty_like(x)
        launch.launch(kernel, (5,), (x, y, None, middle, factor), 4)
        launch.launch(kernel, (5,), (middle, x, None, out, 1.0), 4)
        return [out, x.new_empty(0)]

    return replay.Replayed(call, launch.guard, launch.surroundings)


def expected(x, y, factor):
    return (x + y) * factor + x


def test_later_calls_are_played_on_their_own_tensors(op, kernel):
    for calls in range(1, 4):
        x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
        out, empty = op(x, [y], 3.0)
        torch.testing.assert_close(out, expected(x, y, 3.0))
        assert empty.shape == (0,)
        assert (kernel.first, kernel.played) == (2, 2 * (calls - 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y, f: (x[:1], [y[:1]], f),
        lambda x, y, f: (x.double(), [y.double()], f),
        lambda x, y, f: (x, [y], f + 1),
        lambda x, y, f: (x.contiguous(memory_format=torch.channels_last), [y], f),
        lambda x, y, f: (torch.cat([x.flatten(), x.new_zeros(1)])[1:].view(x.shape), [y], f),
    ],
    ids=["size", "dtype", "number", "strides", "alignment"],
)
def test_other_kinds_have_their_own_tape(op, kernel, change):
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    op(x, [y], 2.0)
    args = change(x, y, 2.0)
    out = op(*args)[0]
    assert kernel.played == 0
    torch.testing.assert_close(out, expected(args[0], args[1][0], args[2]))


class Sub(torch.Tensor):
    """A user's own kind of tensor."""


def test_tensors_of_other_classes_are_played_on_their_own_values(op, kernel):
    for calls in range(1, 4):
        x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
        out, _ = op(x, [y.as_subclass(Sub)], 3.0)
        torch.testing.assert_close(out, expected(x, y, 3.0))
        assert kernel.played == 2 * (calls - 1)


def test_copies_are_not_played(op, kernel):
    """The copy would be missing from the tape, and its values undefined."""
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4).transpose(2, 3)
    for _ in range(3):
        torch.testing.assert_close(op(x, [y], 2.0)[0], expected(x, y, 2.0))
    assert kernel.played == 0


def test_a_tensor_given_twice_makes_no_tape(op, kernel):
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    op(x, [x], 2.0)
    torch.testing.assert_close(op(x, [y], 2.0)[0], expected(x, y, 2.0))
    torch.testing.assert_close(op(x, [x], 2.0)[0], expected(x, x, 2.0))
    assert kernel.played == 2


def test_other_tiles_have_their_own_tape(op, kernel):
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    op(x, [y], 2.0)
    with launch.use_tiles({"reduce": launch.Tile(1, 2), "stream": launch.Tile(1, 2)}):
        op(x, [y], 2.0)
    assert kernel.played == 0


def test_failed_call_leaves_no_tape(op, kernel):
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(RuntimeError):
        op(x, [torch.randn(5, 5, 5, 5)], 2.0)
    assert replay.tape() is None


def test_vectors_with_gaps(device):
    """Every second value of a longer vector, and one value expanded."""
    x = torch.randn(2, 4, 3, 3, device=device)
    alpha, weight = torch.rand(8, device=device)[::2], torch.rand(1, device=device).expand(4)
    got = torch.ops.softgate_triton.gated_residual(x, [x + 1], alpha)
    torch.testing.assert_close(got, alpha.view(1, 4, 1, 1) * x + x + 1)
    z = torch.ops.softgate_triton.bn_relu(x, None, None, weight, None, True, 1e-5, False)[0]
    want = torch.nn.functional.batch_norm(x, None, None, weight.contiguous(), None, True)
    torch.testing.assert_close(z, want, rtol=1e-4, atol=1e-5)


def test_empty_tensors_are_served_elsewhere_each_time():
    """Their results are filled, which a tape would not see."""
    calls = []

    def zeros(x, *_):
        calls.append(x)
        return torch.zeros(3)

    served, _ = triton_kernels.prepared("bn_relu", zeros)
    for _ in range(3):
        assert not served(torch.empty(0, 3, 4, 4), None, None, None, None, True, 1e-5, True).any()
    assert len(calls) == 3


@pytest.mark.parametrize(
    "case",
    [
        Case(size=(2, 8, 6, 14)),
        Case(size=(2, 8, 6, 14), training=False, channels_last=True),
        Case(size=(2, 8, 6, 14), merge="concat", alpha="block"),
        Case(size=(2, 8, 6, 14), plain=True, channels_last=True),
    ],
    ids=str,
)
def test_ops_are_played_right(case, device, played):
    """Forward and backward with other values in other tensors than those noted."""
    check(replace(case, device=device))
    assert not played
    check(replace(case, device=device, seed=1))
    assert len(played) >= 2
