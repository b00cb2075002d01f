"""`conv3x3` and its gradients against PyTorch's convolution in float64."""

import re
from collections.abc import Callable

import pytest
import torch
from cases import off_its_alignment
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import conv2d

from softgate_ext import InputError
from softgate_ext.ops.backend import unavailable
from softgate_ext.ops.conv3x3 import conv3x3, transformed, weight_of

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)
OPS = torch.ops.softgate

# (N, I, O, H, W, groups): whole and partial tiles, vectors, panels and blocks; groups that share vectors.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 4, 4, 1),
    (1, 16, 16, 5, 9, 1),
    (2, 17, 33, 7, 13, 1),
    (3, 24, 12, 8, 6, 4),
    (2, 62, 62, 9, 9, 2),
    (4, 36, 36, 64, 64, 1),
    (1, 144, 72, 32, 32, 1),
    (2, 288, 144, 8, 8, 4),
    (1, 90, 100, 3, 70, 1),
]


def case(n: int, inputs: int, outputs: int, h: int, w: int, groups: int) -> list[Tensor]:
    """x, weight, bias and the gradient of the result."""
    draw = torch.Generator().manual_seed(n + inputs + outputs + h + w)
    sizes = ((n, inputs, h, w), (outputs, inputs // groups, 3, 3), (outputs,), (n, outputs, h, w))
    x, weight, bias, dy = (torch.randn(size, generator=draw) for size in sizes)
    x, dy = (t.to(memory_format=torch.channels_last) for t in (x, dy))
    return [x, weight / (9 * inputs / groups) ** 0.5, bias, dy]


def everything(function, tensors: list[Tensor]) -> list[Tensor]:
    """The result, and the gradients of x, weight and bias."""
    *given, dy = tensors
    given = [t.detach().requires_grad_() for t in given]
    y = function(*given)
    return [y.detach(), *torch.autograd.grad(y, given, dy)]


def errors(got: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """The largest difference of each, beside the largest value."""
    return [((g - w).abs().max() / w.abs().max()).item() for g, w in zip(got, wanted, strict=True)]


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_convolution_and_its_gradients(shape: tuple[int, ...]) -> None:
    *_, groups = shape
    tensors = case(*shape)
    wanted = everything(
        lambda *t: conv2d(*t, padding=1, groups=groups), [t.double() for t in tensors]
    )
    got = everything(lambda *t: conv3x3(*t, groups), tensors)
    # PyTorch's float32 is off by up to 1.2e-6, 1.2e-6, 0.6e-6 and 3.5e-6 of the largest value.
    for error, most in zip(errors(got, wanted), (1e-5, 1e-5, 2e-5, 5e-6), strict=True):
        assert error < most
    assert got[0].is_contiguous(memory_format=torch.channels_last)
    assert got[1].is_contiguous(memory_format=torch.channels_last)


def stored_in_bf16(tensors: list[Tensor]) -> list[Tensor]:
    """x and dy in bfloat16 beside float32 parameters, as under autocast."""
    x, weight, bias, dy = tensors
    return [x.bfloat16(), weight, bias, dy.bfloat16()]


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_its_bfloat16_is_its_float32_rounded(shape: tuple[int, ...]) -> None:
    *_, groups = shape
    stored = stored_in_bf16(case(*shape))
    got = everything(lambda *t: conv3x3(*t, groups), stored)
    wide = everything(lambda *t: conv3x3(*t, groups), [t.float() for t in stored])
    half, single = torch.bfloat16, torch.float32
    assert [t.dtype for t in got] == [half, half, single, single]
    for name, g, w in zip(["y", "dx", "dweight"], got, wide, strict=False):
        assert torch.equal(g, w.to(g.dtype)), name
    torch.testing.assert_close(got[3], wide[3])


@pytest.mark.parametrize("shape", SHAPES[4:], ids=str)
@needs_kernels
def test_its_bfloat16_is_no_less_exact_than_pytorch_s(shape: tuple[int, ...]) -> None:
    *_, groups = shape
    stored = stored_in_bf16(case(*shape))
    wanted = everything(
        lambda *t: conv2d(*t, padding=1, groups=groups), [t.double() for t in stored]
    )
    direct = everything(
        lambda *t: conv2d(*t, padding=1, groups=groups), [t.bfloat16() for t in stored]
    )
    ours = everything(lambda *t: conv3x3(*t, groups), stored)
    for name, o, d, w in zip(["y", "dx", "dweight", "dbias"], ours, direct, wanted, strict=True):
        assert (o - w).norm() <= (d - w).norm(), name
    # Of y and dx the largest error is that of one rounding in either.
    for o, d in zip(errors(ours, wanted), errors(direct, wanted), strict=True):
        assert o <= 1.05 * d


@needs_kernels
@pytest.mark.parametrize("given", [list, stored_in_bf16], ids=["float32", "bfloat16"])
def test_its_bits_do_not_depend_on_threads_and_layouts(
    given: Callable[[list[Tensor]], list[Tensor]],
) -> None:
    tensors = given(case(3, 72, 36, 36, 44, 1))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything(conv3x3, tensors)
        torch.set_num_threads(4)
        several = everything(conv3x3, tensors)
    finally:
        torch.set_num_threads(before)
    x, weight, bias, dy = tensors
    weight = weight.contiguous(memory_format=torch.channels_last)
    other = everything(conv3x3, [x.contiguous(), weight, bias, dy.contiguous()])
    assert other[2].is_contiguous(memory_format=torch.channels_last)
    for name, a, b, c in zip(["y", "dx", "dweight"], one, several, other, strict=False):
        assert torch.equal(a, b) and torch.equal(a, c), name


@needs_kernels
@pytest.mark.parametrize("groups", [1, 3])
def test_its_weights_are_transformed_as_those_of_inference(groups: int) -> None:
    x, weight, _, _ = case(1, 36, 48, 8, 8, groups)
    points = transformed(weight, groups)
    wanted = OPS.winograd_conv3x3(x, points, None, None, None, 48, groups)
    assert errors([conv3x3(x, weight, None, groups)], [wanted])[0] < 5e-6


@pytest.mark.parametrize("shape", SHAPES[:7], ids=str)
def test_weights_are_taken_back(shape: tuple[int, ...]) -> None:
    *_, groups = shape
    weight = case(*shape)[1]
    assert errors([weight_of(transformed(weight, groups), len(weight))], [weight])[0] < 1e-6


@needs_kernels
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    x, weight, bias, dy = case(1, 4, 4, 12, 12, 1)
    dy[0, 1, 6, 6] = value
    _, dx, dweight, dbias = everything(conv3x3, [x, weight, bias, dy])
    assert not dx[0, :, 5:8, 5:8].isfinite().any()
    assert dx[0, :, :3, :3].isfinite().all()  # another tile
    assert not dweight[1].isfinite().any() and dweight[[0, 2, 3]].isfinite().all()
    assert dbias.isfinite().tolist() == [True, False, True, True]


def test_what_the_kernels_do_not_serve_is_pytorch_s_convolution() -> None:
    tensors = [t.double() for t in case(2, 6, 4, 5, 6, 2)]
    got = everything(lambda *t: conv3x3(*t, 2), tensors)
    wanted = everything(lambda *t: conv2d(*t, padding=1, groups=2), tensors)
    assert all(torch.equal(g, w) for g, w in zip(got, wanted, strict=True))
    with pytest.raises(RuntimeError, match="Given groups=3"):
        conv3x3(*(t.float() for t in tensors[:3]), 3)
    assert conv3x3(torch.zeros(0, 6, 5, 6), tensors[1].float(), None, 2).shape == (0, 4, 5, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("size", [(4, 3, 5, 5), (4, 3, 1, 3), (4, 3, 3)], ids=str)
def test_other_kernels_are_refused(size: tuple[int, ...], device: str, dtype: torch.dtype) -> None:
    x, weight = torch.zeros(2, 3, 8, 8), torch.zeros(size)
    x, weight, dy = (t.to(device, dtype) for t in (x, weight, torch.zeros(2, 4, 8, 8)))
    words = re.escape(f"weight must have shape (O, I / groups, 3, 3), got {size}")
    for call in (
        lambda: conv3x3(x, weight),
        lambda: torch.func.vmap(conv3x3, (0, None))(x[None], weight),
        lambda: OPS.conv3x3_backward(dy, x, weight, 1, [True, True, False]),
    ):
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("size", [(1, 4, 8, 8), (2, 20, 8, 8), (2, 4, 9, 8), (4, 8, 8)], ids=str)
def test_a_gradient_of_another_size_is_refused(
    size: tuple[int, ...], device: str, dtype: torch.dtype
) -> None:
    """The kernels would read and write what is not theirs."""
    sizes = ((2, 3, 8, 8), (4, 3, 3, 3), size)
    x, weight, dy = (torch.zeros(s, dtype=dtype, device=device) for s in sizes)
    words = re.escape(f"dy must have shape (2, 4, 8, 8), got {size}")
    with pytest.raises(InputError, match=words):
        OPS.conv3x3_backward(dy, x, weight, 1, [False, True, False])
    with pytest.raises(InputError, match=r"x must be 4-D \(N, C, H, W\), got shape \(3, 8, 8\)"):
        OPS.conv3x3_backward(dy, x[0], weight, 1, [False, True, False])


@needs_kernels
def test_memory_that_was_freed_is_not_read() -> None:
    x, weight, bias, dy = case(2, 6, 4, 5, 6, 2)
    calls = {
        OPS.conv3x3: (x, weight, bias, 2),
        OPS.conv3x3_backward: (dy, x, weight, 2, [True, True, True]),
        OPS.winograd_conv3x3: (x, transformed(weight, 2), None, None, bias, 4, 2),
    }
    for op, arguments in calls.items():
        for place, argument in enumerate(arguments):
            if isinstance(argument, Tensor):
                freed = argument.clone()
                freed.untyped_storage().resize_(0)
                with pytest.raises(InputError, match="must hold values, got a tensor on cpu"):
                    op(*arguments[:place], freed, *arguments[place + 1 :])


@pytest.mark.parametrize("given", [list, stored_in_bf16], ids=["float32", "bfloat16"])
def test_forward_mode_derivatives(given: Callable[[list[Tensor]], list[Tensor]]) -> None:
    tensors = given(case(2, 6, 4, 5, 6, 2))[:3]
    directions = [t.flip(0) for t in tensors]
    single = [t.double() for t in tensors], [t.double() for t in directions]
    _, wanted = torch.func.jvp(lambda *t: conv2d(*t, padding=1, groups=2), *map(tuple, single))
    _, got = torch.func.jvp(lambda *t: conv3x3(*t, 2), tuple(tensors), tuple(directions))
    with forward_ad.dual_level():
        dual = conv3x3(*map(forward_ad.make_dual, tensors, directions), 2)
        again = forward_ad.unpack_dual(dual).tangent
    assert torch.equal(got, again)
    assert errors([got], [wanted])[0] < (1e-5 if got.dtype == torch.float32 else 0.02)


@needs_kernels
def test_what_lies_off_its_alignment() -> None:
    tensors = case(2, 6, 4, 5, 6, 2)
    away = [off_its_alignment(t) for t in tensors]
    got, wanted = (everything(lambda *t: conv3x3(*t, 2), given) for given in (away, tensors))
    assert max(errors(got, wanted)) < 1e-5
    weight = transformed(tensors[1], 2)
    ways = [
        OPS.winograd_conv3x3(x, weight, None, None, bias, 4, 2) for x, _, bias, _ in (away, tensors)
    ]
    assert torch.equal(*ways)


def test_first_and_second_derivatives() -> None:
    given = [t.double().requires_grad_() for t in case(2, 4, 6, 5, 3, 2)[:3]]
    assert torch.autograd.gradcheck(lambda *t: conv3x3(*t, 2), given)
    assert torch.autograd.gradgradcheck(lambda *t: conv3x3(*t, 2), given)


@needs_kernels
def test_second_derivatives_of_the_kernels() -> None:
    def penalty(function, tensors: list[Tensor]) -> list[Tensor]:
        given = [t.detach().requires_grad_() for t in tensors]
        y = function(*given[:3])
        first = torch.autograd.grad(y, given[:3], given[3], create_graph=True)
        return list(
            torch.autograd.grad(sum(g.square().sum() for g in first), given[:2] + given[3:])
        )

    tensors = case(2, 8, 12, 9, 6, 2)
    for given, most in ((tensors, 1e-5), (stored_in_bf16(tensors), 1e-2)):
        wanted = penalty(lambda *t: conv2d(*t, padding=1, groups=2), [t.double() for t in given])
        assert max(errors(penalty(lambda *t: conv3x3(*t, 2), given), wanted)) < most


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    tensors = case(2, 8, 12, 5, 6, 2)
    x, weight, bias, dy = (t.to(dtype).requires_grad_() for t in tensors)
    for some in (bias, None):
        torch.library.opcheck(OPS.conv3x3.default, (x, weight, some, 2))
    for needs in ([True, True, True], [False, True, False]):
        torch.library.opcheck(OPS.conv3x3_backward.default, (dy, x, weight, 2, needs))


@needs_kernels
def test_opcheck_of_bfloat16_beside_float32() -> None:
    x, weight, bias, dy = (t.requires_grad_() for t in stored_in_bf16(case(2, 8, 12, 5, 6, 2)))
    for some in (bias, None):
        torch.library.opcheck(OPS.conv3x3.default, (x, weight, some, 2))
    for needs in ([True, True, True], [False, True, False]):
        torch.library.opcheck(OPS.conv3x3_backward.default, (dy, x, weight, 2, needs))


@pytest.mark.slow
@needs_kernels
def test_narrower_vectors(narrower_vectors: Callable[[str], None]) -> None:
    """Of this file, those that compare values."""
    narrower_vectors("test_it_is or test_its")
