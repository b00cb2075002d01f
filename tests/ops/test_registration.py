"""opcheck, gradcheck and second derivatives of the registered ops, without compiled kernels."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import Case, call, make_inputs
from torch._dynamo.testing import CompileCounter
from torch.autograd import gradcheck, gradgradcheck

from softgate_ext import ops as public
from softgate_ext import use_backend
from softgate_ext.ops import reference, schema
from softgate_ext.ops.backend import is_available

ops = torch.ops.softgate

CASES = {
    "gated_residual": Case(norm=False),
    "gated_residual_bn_relu": Case(),
    "bn_relu": Case(plain=True),
    "skip_merge-concat": Case(merge="concat", norm=False),
    "skip_merge-add": Case(merge="add", norm=False, split=()),
    "skip_merge_bn_relu-concat": Case(merge="concat", split=()),
    "skip_merge_bn_relu-add": Case(merge="add"),
}
names = pytest.mark.parametrize("name", CASES)
layouts = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)


def op(name: str, suffix: str = ""):
    return getattr(ops, name.split("-")[0] + suffix)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where the tensors are; the backend is the automatic one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


def arguments(case: Case) -> tuple:
    """The arguments of the dispatcher op for a case."""
    i = make_inputs(case).cast()
    norm = (i.running_mean, i.running_var, i.weight, i.bias, case.training, 1e-5, case.relu)
    if case.plain:
        return i.x, *norm
    source = (i.x, i.branches, i.low, i.alpha) if case.merge else (i.x, i.branches, i.alpha)
    mode = (case.merge,) if case.merge else ()
    return (*source, *norm, *mode) if case.norm else (*source, *mode)


def backward_arguments(name: str, case: Case) -> tuple:
    """Arguments of the backward op, every gradient wanted."""
    i = make_inputs(case)
    split = [b.shape[1] for b in i.branches]
    y, z = call(case, i)
    flat = y.double().transpose(0, 1).flatten(1)
    mean, var = (
        flat.mean(1).to(i.running_mean.dtype),
        flat.var(1, correction=0).to(i.running_mean.dtype),
    )
    norm = (mean, var, i.weight, i.bias, True, 1e-5, case.relu)
    if case.plain:
        return i.dz, i.x, *norm, [True] * 3
    merge = (i.x.shape[1], case.merge) if case.merge else ()
    wanted = [True, bool(split), *(1 + bool(case.merge)) * [True]]
    if not case.norm:
        return i.dy, i.x, i.alpha, *merge, split, wanted
    return i.dy, i.dz, y, i.x, i.alpha, *norm, *merge, split, [*wanted, True, True]


# Without a norm an op is the same in training and evaluation.
modes = pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param(name, training, id=f"{name}-{'train' if training else 'eval'}")
        for name, case in CASES.items()
        for training in ((True, False) if case.norm else (True,))
    ],
)


@modes
@pytest.mark.parametrize(
    ("channels_last", "dtype"),
    [(True, torch.float32), (False, torch.bfloat16)],
    ids=["channels_last-float32", "contiguous-bfloat16"],
)
def test_opcheck(name, channels_last, dtype, training, device):
    case = replace(
        CASES[name], channels_last=channels_last, dtype=dtype, training=training, device=device
    )
    torch.library.opcheck(op(name).default, arguments(case))


@names
@layouts
def test_opcheck_of_backward(name, channels_last, device):
    case = replace(CASES[name], channels_last=channels_last, device=device)
    torch.library.opcheck(op(name, "_backward").default, backward_arguments(name, case))


@modes
@layouts
@pytest.mark.parametrize(
    "option",
    [{}, dict(alpha="block"), dict(alpha=None, affine=False, relu=False)],
    ids=["all", "block", "bare"],
)
def test_gradcheck(name, channels_last, training, option, device):
    """Numerical against analytical gradients in float64, y and z both used."""
    case = replace(
        CASES[name],
        size=(2, 4, 4, 2),
        split=(2, 1, 1),
        low_channels=4,
        dtype=torch.float64,
        channels_last=channels_last,
        training=training,
        running=not training,
        device=device,
        **option,
    )
    inputs = make_inputs(case).cast()
    leaves = list(inputs.differentiable().values())

    def function(*_):
        y, z = call(case, inputs)
        return y if z is None else z if case.plain else (y, z)

    # Perturbations of 1e-6 must not cross the kink of the ReLU.
    assert gradcheck(function, leaves, eps=1e-6, atol=1e-5, nondet_tol=0.0)


@names
def test_second_derivative_is_refused_in_one_sentence(name):
    case = replace(CASES[name], dtype=torch.float64)
    inputs = make_inputs(case).cast()
    y, z = call(case, inputs)
    (first,) = torch.autograd.grad(
        (y if z is None else z).square().sum(), inputs.x, create_graph=True
    )
    with pytest.raises(ValueError, match=r"no second derivative.*use_backend\('reference'\)"):
        torch.autograd.grad(first.sum(), inputs.x)


def test_second_derivative_under_the_reference():
    case = Case(
        size=(2, 4, 3, 2),
        split=(2, 2),
        dtype=torch.float64,
        training=True,
        running=False,
        relu=False,
    )
    inputs = make_inputs(case).cast()
    with use_backend("reference"):
        assert gradgradcheck(lambda *_: call(case, inputs)[1], [inputs.x, inputs.alpha], atol=1e-4)


@pytest.mark.parametrize("wanted", [True, False])
def test_x_is_kept_only_for_the_gradient_of_alpha(wanted):
    """A saved tensor that was changed in place is refused; one that was not saved may change."""
    inputs = make_inputs(Case()).cast()
    inputs.alpha.requires_grad_(wanted)
    x = inputs.x.detach()
    inputs.x = x
    y, _ = call(Case(), inputs)
    x.add_(1)
    if wanted:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    else:
        y.sum().backward()


def test_changed_running_statistics_are_noticed_in_backward():
    """A training step between an evaluation's forward and backward must not corrupt it silently."""
    case = Case(training=False)
    inputs = make_inputs(case).cast()
    y, z = call(case, inputs)
    call(replace(case, training=True), inputs)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_transforms_of_torch_func(backend):
    x, f, alpha = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5), torch.rand(4)
    mean, var = torch.zeros(4), torch.ones(4)

    def loss(x):
        y, z = public.gated_residual_bn_relu(x, f, alpha, mean, var)
        return (y + z).sum()

    with use_backend(backend):
        got = torch.func.grad(loss)(x)
        leaf = x.clone().requires_grad_()
        loss(leaf).backward()
    torch.testing.assert_close(got, leaf.grad)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_export_with_a_dynamic_batch(backend):
    class Module(torch.nn.Module):
        def forward(self, x, f, alpha, mean, var):
            return public.gated_residual_bn_relu(x, [f], alpha, mean, var)

    batch = torch.export.Dim("n", min=2, max=64)
    args = (
        torch.randn(4, 4, 6, 6),
        torch.randn(4, 4, 6, 6),
        torch.rand(4),
        torch.zeros(4),
        torch.ones(4),
    )
    with use_backend(backend):
        exported = torch.export.export(
            Module(), args, dynamic_shapes=({0: batch}, {0: batch}, None, None, None)
        )
        other = (torch.randn(7, 4, 6, 6), torch.randn(7, 4, 6, 6), *args[2:])
        for got, want in zip(exported.module()(*other), Module()(*other), strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_one_graph_for_every_batch(backend):
    """torch.compile with a dynamic batch: no graph break, no recompilation."""
    mean, var = torch.zeros(4), torch.ones(4)
    counter = CompileCounter()
    compiled = torch.compile(
        lambda x: public.bn_relu(x, mean, var, training=True),
        fullgraph=True,
        dynamic=True,
        backend=counter,
    )
    with use_backend(backend):
        for n in (3, 5, 8):
            x = torch.randn(n, 4, 6, 6)
            torch.testing.assert_close(compiled(x), reference.bn_relu(x, None, None, training=True))
    if backend == "auto" and is_available("cpu"):  # torch's own batch_norm guards on the batch
        assert counter.frame_count == 1


def test_the_direct_module_gives_the_same():
    if not is_available("cpu"):
        pytest.skip("needs the compiled extension")
    from softgate_ext import _C

    args = arguments(CASES["gated_residual_bn_relu"])
    with torch.no_grad():
        for got, want in zip(
            _C.gated_residual_bn_relu(*args), ops.gated_residual_bn_relu(*args), strict=True
        ):
            assert torch.equal(got, want)


@pytest.mark.slow
def test_without_the_extension():
    """The registration once more on the fallback, as on a machine without a compiler."""
    if os.environ.get("SOFTGATE_EXTENSION") == "0":
        pytest.skip("this is that run")
    code = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        __file__,
        "-k",
        "channels_last and ((opcheck and float32 and train) or opcheck_of_backward)",
    ]
    done = subprocess.run(
        code, env={**os.environ, "SOFTGATE_EXTENSION": "0"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
@pytest.mark.proof("vectors")
@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_narrower_vectors(isa):
    """The kernels that this processor would not pick, on the values of the contract."""
    if not is_available("cpu"):
        pytest.skip("needs the compiled extension")
    values = Path(__file__).with_name("test_values.py")
    code = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(values)),
        *("-k", "cpu and (dtypes or channels or branches or strides or nan)", "-m", ""),
    ]
    env = {**os.environ, "SOFTGATE_ISA": isa}
    done = subprocess.run(code, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout


def test_an_empty_variable_is_none():
    code = (
        "import softgate_ext as s, torch\n"
        "s.bn_relu(torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.ones(1))\n"
    )
    env = {**os.environ, "SOFTGATE_ISA": "", "SOFTGATE_BACKEND": ""}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_unknown_instruction_set():
    if not is_available("cpu"):
        pytest.skip("needs the compiled extension")
    code = [sys.executable, "-c", "import softgate_ext; softgate_ext.info()"]
    env = {**os.environ, "SOFTGATE_ISA": "avx9"}
    done = subprocess.run(code, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "SOFTGATE_ISA must be avx512, avx2 or baseline, got 'avx9'" in done.stderr


def test_an_op_of_a_sum_and_a_norm_is_called_after_its_sum():
    """By another name its backward ended the process where z took part in no loss."""
    with pytest.raises(RuntimeError, match="^gated_norm must be called <op>_bn_relu after"):
        schema.check_name("gated_norm", ["y", "z", "mean", "var"])
    schema.check_name("gated_residual_bn_relu", ["y", "z", "mean", "var"])
