"""Values and gradients of the five ops against the float64 oracle."""

from dataclasses import replace

import pytest
import torch
from cases import (
    EPS,
    Case,
    call,
    check,
    make_inputs,
    oracle_forward,
    outputs_and_gradients,
    strided_variants,
)

from softgate_ext import ops, use_backend
from softgate_ext.ops.backend import current, is_available

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

KINDS = {
    "residual": Case(norm=False),
    "residual_norm": Case(),
    "norm": Case(plain=True),
    "concat": Case(merge="concat", norm=False, split=()),
    "add": Case(merge="add", norm=False, split=()),
    "concat_norm": Case(merge="concat", split=()),
    "add_norm": Case(merge="add", split=()),
    "pending_concat": Case(merge="concat", norm=False),
    "pending_add_norm": Case(merge="add"),
}
kinds = pytest.mark.parametrize("kind", KINDS)
layouts = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)
trainings = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


@pytest.fixture(
    params=["cpu", "reference", pytest.param("cuda", marks=pytest.mark.gpu)], autouse=True
)
def device(request):
    """Runs each test with each backend; yields the device that it serves."""
    if not is_available(request.param):
        pytest.skip(f"needs the {request.param} backend")
    with use_backend(request.param):
        yield "cuda" if request.param == "cuda" else "cpu"


def with_channels(case: Case, c: int) -> Case:
    """The case with c channels, divided among as many branches as it had."""
    parts = min(len(case.split), c)
    split = tuple(c // parts + (i < c % parts) for i in range(parts)) if parts else ()
    n, _, h, w = case.size
    return replace(case, size=(n, c, h, w), split=split, low_channels=c)


@kinds
@layouts
@trainings
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def test_dtypes(kind, channels_last, training, dtype, device):
    check(
        replace(
            KINDS[kind], channels_last=channels_last, training=training, dtype=dtype, device=device
        )
    )


@kinds
@layouts
@pytest.mark.parametrize("c", [1, 3, 5, 65, 144, 256])
def test_channels(kind, channels_last, c, device):
    case = replace(with_channels(KINDS[kind], c), channels_last=channels_last, device=device)
    check(replace(case, size=(2, c, 4, 6)))
    check(replace(case, size=(2, c, 4, 6), dtype=torch.bfloat16))


@kinds
@layouts
@pytest.mark.parametrize(
    "size", [(2, 8, 4, 4), (3, 8, 14, 6), (2, 8, 34, 30), (1, 8, 64, 64), (5, 8, 2, 66)]
)
def test_sizes(kind, channels_last, size, device):
    check(replace(KINDS[kind], size=size, channels_last=channels_last, device=device))


@layouts
@pytest.mark.parametrize(
    "size", [(2, 8, 1, 1), (1, 8, 1, 3), (3, 8, 5, 7), (2, 8, 13, 1), (1, 8, 77, 53)]
)
@pytest.mark.parametrize("kind", ["residual", "residual_norm", "norm"])
def test_odd_sizes(kind, channels_last, size, device):
    check(replace(KINDS[kind], size=size, channels_last=channels_last, device=device))


@layouts
@trainings
@pytest.mark.parametrize("split", [(8,), (5, 3), (4, 2, 2), (1, 2, 3, 2)])
def test_branches(channels_last, training, split, device):
    for merge in (None, "concat", "add"):
        case = Case(
            split=split, merge=merge, channels_last=channels_last, training=training, device=device
        )
        check(case)
        check(replace(case, norm=False))


@kinds
@layouts
@pytest.mark.parametrize(
    "option",
    [
        dict(alpha=None),
        dict(alpha="block"),
        dict(affine=False),
        dict(relu=False),
        dict(running=False),
        dict(running=False, affine=False),
    ],
)
def test_options(kind, channels_last, option, device):
    check(replace(KINDS[kind], channels_last=channels_last, device=device, **option))


@layouts
@trainings
@pytest.mark.parametrize("kind", ["residual_norm", "concat_norm", "add_norm", "pending_add_norm"])
def test_only_the_normalised_output_is_used(kind, channels_last, training, device):
    case = replace(KINDS[kind], channels_last=channels_last, training=training, device=device)
    check(case, use_y=False)


@kinds
@layouts
@pytest.mark.parametrize("size", [(0, 8, 4, 6), (2, 8, 0, 6), (2, 8, 4, 0)], ids=str)
def test_no_values(kind, channels_last, size, device):
    case = replace(KINDS[kind], size=size, channels_last=channels_last, device=device)
    inputs = make_inputs(case).cast()
    before = [t.clone() for t in (inputs.running_mean, inputs.running_var)]
    named = outputs_and_gradients(case, *call(case, inputs), inputs)
    assert "dx" in named
    for name, leaf in inputs.differentiable().items():
        if f"d{name}" in named:
            assert named[f"d{name}"].shape == leaf.shape
    assert torch.equal(inputs.running_mean, before[0])
    assert torch.equal(inputs.running_var, before[1])
    for name in ("dalpha", "dweight", "dbias"):
        if name in named:
            assert not named[name].any()


@pytest.mark.parametrize("kind", [k for k, case in KINDS.items() if case.norm and not case.merge])
def test_one_value_per_channel_is_refused_in_training(kind, device):
    case = replace(KINDS[kind], size=(1, 8, 1, 1), device=device)
    inputs = make_inputs(replace(case, training=False))
    with pytest.raises(ValueError, match=r"more than 1 value per channel.*\[1, 8, 1, 1\]"):
        call(case, inputs)


@kinds
@layouts
@pytest.mark.parametrize("variant", [0, 1, 2], ids=["sliced", "transposed", "odd_offset"])
def test_strides(kind, channels_last, variant, device):
    """Any strides of activations and of gradients, mixed with dense ones."""
    case = replace(KINDS[kind], channels_last=channels_last, device=device)
    inputs = make_inputs(case)
    inputs.x = strided_variants(inputs.x)[variant]
    inputs.branches = [strided_variants(b)[variant] for b in inputs.branches]
    inputs.dy = strided_variants(inputs.dy)[variant]
    inputs.dz = strided_variants(inputs.dz)[variant]
    i = Strided(inputs)
    mine = outputs_and_gradients(case, *call(case, i.leaves), i.leaves)
    check_against(case, mine)


class Strided:
    """Leaves that keep their strides (``Inputs.cast`` makes dense copies)."""

    def __init__(self, inputs):
        self.leaves = inputs
        for t in inputs.differentiable().values():
            t.requires_grad_()


def check_against(case, got):
    dense = make_inputs(case).cast()
    want = outputs_and_gradients(case, *call(case, dense), dense)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5)


@kinds
@trainings
def test_mixed_layouts(kind, training, device):
    """The result has the layout of the first argument, whatever the others have."""
    case = replace(KINDS[kind], training=training, channels_last=True, device=device)
    inputs = make_inputs(case)
    inputs.branches = [b.contiguous() for b in inputs.branches]
    inputs.dy = inputs.dy.contiguous()
    got = check(case, inputs)
    assert got["dx"].shape == inputs.x.shape
    if current() != "reference":  # eager PyTorch lets each operation decide
        assert got["y"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["residual_norm", "norm", "add_norm"])
@trainings
@pytest.mark.parametrize(
    ("dtype", "parameters", "statistics"),
    [
        (torch.float64, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.bfloat16),
        (torch.float32, torch.bfloat16, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ],
)
def test_vectors_of_any_width(kind, training, dtype, parameters, statistics, device):
    """Each gradient and statistic keeps the dtype of its own vector."""
    case = replace(KINDS[kind], dtype=dtype, training=training, device=device)
    inputs = make_inputs(case)
    for name in ("alpha", "weight", "bias"):
        v = getattr(inputs, name)
        setattr(inputs, name, None if v is None else v.to(parameters))
    inputs.running_mean = inputs.running_mean.to(statistics)
    inputs.running_var = inputs.running_var.to(statistics)
    mine, oracle = inputs.cast(), inputs.cast(torch.float64)
    got = outputs_and_gradients(case, *call(case, mine), mine)
    want = outputs_and_gradients(case, *oracle_forward(case, oracle, case.relu), oracle)
    for name, value in want.items():
        own = statistics if "running" in name else parameters if value.dim() == 1 else dtype
        assert got[name].dtype == own, name
        if name in ("y", "z", "running_mean", "running_var"):
            rounding = max(EPS[own], EPS[dtype]) * 4
            torch.testing.assert_close(got[name].double(), value, rtol=rounding, atol=rounding)


@kinds
def test_expanded_gradient(kind, device):
    """The stride-0 gradient of ``sum()``, which must be read and never written."""
    case = replace(KINDS[kind], device=device, relu=False)
    inputs = make_inputs(case)
    inputs.dy = torch.ones((), dtype=inputs.x.dtype, device=device).expand(inputs.dy.shape)
    inputs.dz = inputs.dy
    leaves = Strided(inputs).leaves
    got = outputs_and_gradients(case, *call(case, leaves), leaves)
    dense = make_inputs(case)
    dense.dy, dense.dz = torch.ones_like(dense.dy), torch.ones_like(dense.dz)
    leaves = Strided(dense).leaves
    want = outputs_and_gradients(case, *call(case, leaves), leaves)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5)


def test_expanded_input(device):
    case = Case(device=device)
    inputs = make_inputs(case)
    inputs.x = inputs.x[:1, :, :1, :1].expand(case.size)
    check(case, inputs)


@layouts
@pytest.mark.parametrize("kind", ["residual_norm", "norm", "add_norm"])
def test_mean_far_above_deviation(kind, channels_last, device):
    """|mean| = 1e4 std in float32: naive sums of squares would lose the variance altogether."""
    if current() == "reference":
        pytest.skip("needs a fused backend: PyTorch's own channels_last kernel loses the variance")
    case = replace(
        KINDS[kind],
        size=(4, 8, 32, 32),
        mean=1e4,
        alpha=None,
        channels_last=channels_last,
        device=device,
    )
    inputs = make_inputs(case)
    got = call(case, inputs.cast())[1]
    i = inputs.cast(torch.float64)
    y = inputs.x if case.plain else call(replace(case, norm=False), inputs.cast())[0]
    exact = torch.nn.functional.batch_norm(y.double(), None, None, i.weight, i.bias, True).relu()
    assert float((got - exact).abs().max()) < 5e-3
    assert float(inputs.running_var.min()) > 0


@kinds
@layouts
def test_deterministic_and_independent_of_threads(kind, channels_last, device):
    if current() == "reference":
        pytest.skip("needs a fused backend: eager sums depend on the number of threads")
    case = replace(with_channels(KINDS[kind], 40), channels_last=channels_last, device=device)
    case = replace(case, size=(3, 40, 34, 30))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            inputs = make_inputs(case).cast()
            results.append(outputs_and_gradients(case, *call(case, inputs), inputs))
    finally:
        torch.set_num_threads(threads)
    for name, first in results[0].items():
        for other in results[1:]:
            assert torch.equal(first, other[name]), name


@kinds
def test_nan_passes_through(kind, device):
    case = replace(KINDS[kind], training=False, device=device)
    inputs = make_inputs(case)
    inputs.x[0, 0, 0, 0] = float("nan")
    y, z = call(case, inputs)
    out = y if z is None else z
    assert torch.isnan(out[0, 0, 0, 0])
    assert int(torch.isnan(out).sum()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 80, 64, 64)])
@layouts
@trainings
@pytest.mark.parametrize(
    "kind", ["residual", "residual_norm", "norm", "concat_norm", "add_norm", "pending_concat"]
)
def test_large_enough_to_stream(kind, shape, channels_last, training, device):
    """Results beyond the caches take the non-temporal path."""
    if current() == "reference":
        pytest.skip("needs a kernel: eager code has one path, and coarser sums over 65536 values")
    case = replace(
        with_channels(KINDS[kind], shape[1]), size=shape, channels_last=channels_last, device=device
    )
    for dtype in (torch.float32, torch.bfloat16):
        check(replace(case, dtype=dtype))


@layouts
@pytest.mark.parametrize("value", [3.3e7, 123456.7, 7.7e9])
def test_constant_channels_have_no_variance(value, channels_last, device):
    """Rounding must not leave a negative variance, nor a NaN behind its root."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.full((3, 2, 37, 53), value, device=device).contiguous(memory_format=layout)
    mean, var = torch.zeros(2, device=device), torch.ones(2, device=device)
    z = ops.bn_relu(x, mean, var, training=True, momentum=1.0, relu=False)
    assert torch.isfinite(z).all()
    assert (var >= 0).all()


@layouts
@pytest.mark.parametrize("value", [3e19, 1e22])
def test_square_of_the_mean_overflows(value, channels_last, device):
    """float32 holds the squares of the deviations, which are all that the moments take."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for dtype in (torch.float32, torch.bfloat16):
        for shape in ((1, 2, 1, 3), (3, 5, 7, 9)):
            x = torch.full(shape, value, dtype=dtype, device=device)
            z = ops.bn_relu(x.contiguous(memory_format=layout), None, None, training=True)
            assert torch.isfinite(z).all(), (dtype, shape)


@layouts
def test_infinite_input_in_evaluation(channels_last, device):
    """An overflowed stream has the gradients that PyTorch gives it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.tensor([float("inf"), float("-inf"), 1.0, -1.0], device=device).view(1, 1, 2, 2)
    x = x.contiguous(memory_format=layout).requires_grad_()
    z = ops.bn_relu(x, torch.zeros(1, device=device), torch.ones(1, device=device))
    (dx,) = torch.autograd.grad(z.sum(), x)
    assert dx.flatten().tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0], abs=1e-4)


@layouts
@pytest.mark.parametrize("value", [1e21, 1e22, 1e30])
@pytest.mark.parametrize("size", [(3, 5, 9, 7), (2, 5, 64, 64)])
def test_one_value_of_which_the_square_is_infinite(value, size, channels_last):
    """Its channel has an infinite variance, and normalised values of zero: no NaN."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    x[0, 2, 3, 4] = value
    x = x.contiguous(memory_format=layout).requires_grad_()
    mean, var = torch.zeros(5), torch.ones(5)
    z = ops.bn_relu(x, mean, var, training=True, relu=False)
    z.backward(torch.ones_like(z))
    assert not z.isnan().any() and not var.isnan().any() and not x.grad.isnan().any()
