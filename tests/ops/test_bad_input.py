"""Wrong input at every entry to an op: the public function, torch.ops, the fallback, the fake kernel.

Each entry raises the same InputError: one sentence with the argument, the given and the allowed value.
"""

import inspect

import pytest
import torch

from softgate_ext import InputError, ops, use_backend
from softgate_ext.ops import fallback
from softgate_ext.ops.backend import is_available

N, C, H, W = 2, 8, 4, 6


def t(*size, dtype=torch.float32):
    return torch.zeros(size, dtype=dtype)


X = t(N, C, H, W)
V = t(C)
NORM = (V, V, V, V)

RESIDUAL = {
    "x 3-D": ((t(C, H, W), [X], V), r"x must be 4-D \(N, C, H, W\), got shape \(8, 4, 6\)"),
    "x integer": ((X.long(), [X.long()], V), "x must be float32, .* bfloat16, got int64"),
    "no channel": (
        (t(N, 0, H, W), [t(N, 0, H, W)], None),
        r"x must have at least one channel, got shape \(2, 0, 4, 6\)",
    ),
    "no branch": ((X, [], V), "branches must be 1 to 4 tensors, got 0"),
    "five branches": ((X, [t(N, 1, H, W)] * 5, V), "branches must be 1 to 4 tensors, got 5"),
    "branch size": (
        (X, [t(N, C, H, 5)], V),
        r"branches\[0\] must have shape \(2, \*, 4, 6\) as x, got \(2, 8, 4, 5\)",
    ),
    "branch sum": (
        (X, [t(N, 4, H, W), t(N, 2, H, W)], V),
        "branches must have 8 channels in all, as x, got 6",
    ),
    "branch dtype": (
        (X, [X.half()], V),
        r"branches\[0\] must have the dtype of x, float32, got float16",
    ),
    "alpha shape": ((X, [X], t(3)), r"alpha must have shape \(8,\) or \(1,\), got \(3,\)"),
    "alpha dtype": ((X, [X], V.int()), "alpha must be floating point, got int32"),
}
NORMED = {
    "running_mean shape": (
        (t(3), V, V, V),
        True,
        1e-5,
        r"running_mean must have shape \(8,\), one value per channel, got \(3,\)",
    ),
    "weight dtype": ((V, V, V.int(), V), True, 1e-5, "weight must be floating point, got int32"),
    "bias 2-D": ((V, V, V, t(1, C)), True, 1e-5, r"bias must have shape \(8,\), .* got \(1, 8\)"),
    "half the statistics": (
        (V, None, V, V),
        True,
        1e-5,
        "running_mean and running_var must be given together",
    ),
    "no statistics": (
        (None, None, V, V),
        False,
        1e-5,
        "running_mean and running_var must be given when training=False, got None",
    ),
    "eps": (NORM, True, -1.0, "eps must be positive during training, got -1"),
    "eps in evaluation": (NORM, False, -0.5, "eps must be non-negative, got -0.5"),
}
MERGE = {
    "mode": ((X, t(N, C, 2, 3), V, "sum"), "mode must be 'concat' or 'add', got 'sum'"),
    "low size": (
        (X, t(N, C, 2, 2), V, "concat"),
        r"low must be half as high and wide as skip \(2, 8, 4, 6\), got \(2, 8, 2, 2\)",
    ),
    "odd skip": ((t(N, C, 5, 6), t(N, C, 2, 3), V, "add"), "low must be half as high and wide"),
    "low channels": (
        (X, t(N, 4, 2, 3), V, "add"),
        "low must have the 8 channels of skip in mode 'add', got 4",
    ),
    "no channel of low": (
        (X, t(N, 0, 2, 3), V, "concat"),
        r"low must have at least one channel, got shape \(2, 0, 2, 3\)",
    ),
    "low dtype": (
        (X, t(N, C, 2, 3).double(), V, "concat"),
        "low must have the dtype of skip, float32, got float64",
    ),
    "alpha shape": (
        (X, t(N, C, 2, 3), t(5), "concat"),
        r"alpha must have shape \(8,\) or \(1,\), got \(5,\)",
    ),
}


def one_sentence(error) -> None:
    text = str(error.value).split("\nException raised from")[0]
    assert "\n" not in text.strip()


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    if not is_available(request.param):
        pytest.skip(f"needs the {request.param} backend")
    with use_backend(request.param):
        yield request.param


@pytest.fixture(params=["torch.ops", "fallback", "meta"])
def door(request):
    """The op called directly, as (module, conversion of its tensors)."""
    if request.param == "fallback":
        return fallback.kernels, lambda v: v
    if request.param == "meta":
        return torch.ops.softgate, to_meta
    return torch.ops.softgate, lambda v: v


def to_meta(value):
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return [to_meta(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", RESIDUAL)
def test_residual(case, backend):
    args, message = RESIDUAL[case]
    with pytest.raises(InputError, match=message) as error:
        ops.gated_residual(*args)
    one_sentence(error)
    with pytest.raises(InputError, match=message):
        ops.gated_residual_bn_relu(*args, *NORM)


@pytest.mark.parametrize("case", RESIDUAL)
def test_residual_directly(case, door):
    module, convert = door
    args, message = RESIDUAL[case]
    with pytest.raises(InputError, match=message) as error:
        module.gated_residual(*(convert(a) for a in args))
    one_sentence(error)
    with pytest.raises(InputError, match=message):
        module.gated_residual_bn_relu(*(convert(a) for a in (*args, *NORM)), True, 1e-5, True)


@pytest.mark.parametrize("case", NORMED)
def test_norm(case, backend):
    vectors, training, eps, message = NORMED[case]
    with pytest.raises(InputError, match=message) as error:
        ops.bn_relu(X, *vectors, training=training, eps=eps)
    one_sentence(error)
    with pytest.raises(InputError, match=message):
        ops.skip_merge_bn_relu(
            X, t(N, C, 2, 3), V, *vectors, training=training, eps=eps, mode="add"
        )


@pytest.mark.parametrize("case", NORMED)
def test_norm_directly(case, door):
    module, convert = door
    vectors, training, eps, message = NORMED[case]
    with pytest.raises(InputError, match=message) as error:
        module.bn_relu(*(convert(a) for a in (X, *vectors)), training, eps, True)
    one_sentence(error)


@pytest.mark.parametrize("case", MERGE)
def test_merge(case, backend):
    (skip, low, alpha, mode), message = MERGE[case]
    with pytest.raises(InputError, match=message) as error:
        ops.skip_merge(skip, low, alpha, mode=mode)
    one_sentence(error)


@pytest.mark.parametrize("case", MERGE)
def test_merge_directly(case, door):
    module, convert = door
    (skip, low, alpha, mode), message = MERGE[case]
    with pytest.raises(InputError, match=message) as error:
        module.skip_merge(convert(skip), [], convert(low), convert(alpha), mode)
    one_sentence(error)


@pytest.mark.parametrize("other", ["branches", "alpha", "running_mean", "weight"])
def test_another_device(other, backend):
    """No second device is needed: a meta tensor is on one."""
    args = dict(x=X, branches=[X], alpha=V, running_mean=V, running_var=V, weight=V, training=True)
    moved = args[other]
    args[other] = [moved[0].to("meta")] if other == "branches" else moved.to("meta")
    with pytest.raises(InputError, match="must be on the device of"):
        ops.gated_residual_bn_relu(**args)


def test_backward_ops_directly(door):
    module, convert = door
    direct = Converted(module, convert)
    with pytest.raises(InputError, match="needs must have 3 flags, got 1"):
        direct.gated_residual_backward(X, X, V, [C], [True])
    with pytest.raises(InputError, match="alpha and x must be given where needs asks"):
        direct.gated_residual_backward(X, None, None, [C], [True, True, True])
    with pytest.raises(InputError, match="split must add up to 8 channels, got 3"):
        direct.gated_residual_backward(X, X, V, [3], [True, True, True])
    with pytest.raises(InputError, match=r"dz must have the shape of x, \(2, 8, 4, 6\), got"):
        direct.bn_relu_backward(X[:1], X, V, V, V, V, True, 1e-5, True, [True] * 3)
    with pytest.raises(InputError, match=r"mean must have shape \(8,\)"):
        direct.bn_relu_backward(X, X, t(2), V, V, V, True, 1e-5, True, [True] * 3)
    with pytest.raises(InputError, match="channels must be the channels of skip"):
        direct.skip_merge_backward(X, X, V, 9, "concat", [], [True, False, True, True])
    with pytest.raises(InputError, match="split must be counts from 1 to 8 channels, got 9"):
        direct.gated_residual_backward(X, X, V, [C + 1, -1], [True] * 3)
    with pytest.raises(InputError, match=r"dy must have the shape of y, \(2, 8, 4, 6\), got"):
        direct.gated_residual_bn_relu_backward(
            X[:1], X, X, X, V, V, V, V, V, True, 1e-5, True, [C], [True] * 5
        )


class Converted:
    """The ops of a module, with their tensors converted first."""

    def __init__(self, module, convert):
        self.module, self.convert = module, convert

    def __getattr__(self, name):
        return lambda *args: getattr(self.module, name)(*map(self.convert, args))


@pytest.mark.parametrize("saved", ["x", "alpha"])
def test_backward_across_devices(saved):
    """No fake kernel answers for a real gradient."""
    x, alpha = (X.to("meta"), V) if saved == "x" else (X, V.to("meta"))
    with pytest.raises(InputError, match=f"{saved} must be on the device of the gradient, cpu"):
        torch.ops.softgate.gated_residual_backward(X, x, alpha, [C], [True] * 3)


@pytest.mark.parametrize("kind", ["sparse_coo", "mkldnn"])
def test_layouts_that_are_not_dense(kind, backend):
    other = X.to_sparse() if kind == "sparse_coo" else X.to_mkldnn()
    for x, branch in ((other, X), (X, other)):
        with pytest.raises(InputError, match=f"must be a dense tensor, got .*{kind}") as error:
            ops.gated_residual(x, branch)
        one_sentence(error)


def test_a_nested_tensor(backend):
    nested = torch.nested.nested_tensor([*X])
    for x, branch in ((nested, X), (X, nested)):
        with pytest.raises(InputError, match="^activations must be dense tensors, got a nested"):
            ops.gated_residual(x, branch)


@pytest.mark.parametrize("name", ["eps", "momentum", "training", "relu", "mode"])
@pytest.mark.parametrize("value", [None, "1", [1], 1j, t(2)], ids=str)
def test_options_of_another_type(name, value, backend):
    takes = {"training": "True or False", "relu": "True or False", "mode": "'concat' or 'add'"}
    message = f"^{name} must be {takes.get(name, 'a number')}, got "
    with pytest.raises(InputError, match=message) as error:
        ops.skip_merge_bn_relu(X, t(N, C, 2, 3), V, *NORM, **{"mode": "add", name: value})
    one_sentence(error)
    with pytest.raises(InputError, match=message):
        if name == "mode":
            ops.skip_merge(X, t(N, C, 2, 3), V, mode=value)
        else:
            ops.gated_residual_bn_relu(X, X, V, *NORM, **{name: value})
    if name != "mode":
        with pytest.raises(InputError, match=message):
            ops.bn_relu(X, *NORM, **{name: value})


@pytest.mark.parametrize("name", ["alpha", "running_mean", "running_var", "weight", "bias"])
def test_vectors_that_are_not_dense(name, backend):
    vectors = dict(alpha=V, running_mean=V, running_var=V, weight=V, bias=V)
    vectors[name] = V.to_sparse()
    with pytest.raises(InputError, match=f"^{name} must be a dense tensor, got .*sparse") as error:
        ops.gated_residual_bn_relu(X, X, **vectors)
    one_sentence(error)


@pytest.mark.parametrize("kind", ["to_sparse", "to_mkldnn"])
def test_gradients_that_are_not_dense(kind, door):
    module, convert = door
    x, v = convert(X), convert(V)
    for dz in (getattr(X, kind)(),) if x.device.type == "cpu" else ():
        with pytest.raises(InputError, match="^dz must be a dense tensor, got one of layout"):
            module.bn_relu_backward(dz, x, v, v, None, None, True, 1e-5, True, [True, False, False])
        with pytest.raises(InputError, match="^x must be a dense tensor, got one of layout"):
            module.gated_residual_backward(x, getattr(X, kind)(), v, [C], [True] * 3)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("training", [True, False])
def test_statistics_that_want_a_gradient(name, training, backend):
    """As `F.batch_norm`, which has none for them, refuses them; without gradients they may be."""
    vectors = dict(running_mean=t(C), running_var=t(C) + 1) | {name: (t(C) + 1).requires_grad_()}
    message = f"^{name} must not require a gradient"
    with pytest.raises(InputError, match=message) as error:
        ops.bn_relu(X, **vectors, training=training)
    one_sentence(error)
    with pytest.raises(InputError, match=message):
        ops.gated_residual_bn_relu(X, X, None, **vectors, training=training)
    with torch.no_grad():
        ops.bn_relu(X, **vectors, training=training)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_expanded_statistics_are_refused_before_either_is_changed(name, backend):
    vectors = dict(running_mean=t(C), running_var=t(C) + 1)
    vectors[name] = torch.ones(1).expand(C)
    before = {key: v.clone() for key, v in vectors.items()}
    message = f"^{name} must have memory of its own for each channel, got an expanded tensor$"
    with pytest.raises(InputError, match=message):
        ops.bn_relu(X, **vectors, training=True)
    assert all(torch.equal(v, before[key]) for key, v in vectors.items())
    ops.bn_relu(X, **vectors, training=False)


@pytest.mark.parametrize("args", [(None, X), ("x", X), (X, 0.5), (X, [X.numpy()])])
def test_what_is_no_tensor(args, backend):
    with pytest.raises(InputError, match="activations must be tensors, got ") as error:
        ops.gated_residual(*args)
    one_sentence(error)


@pytest.mark.parametrize("name", ["alpha", "running_mean", "running_var", "weight", "bias"])
def test_a_vector_that_is_a_number(name, backend):
    vectors = dict(alpha=V, running_mean=V, running_var=V, weight=V, bias=V) | {name: 0.5}
    message = f"^{name} must be a tensor or None, got float$"
    with pytest.raises(InputError, match=message):
        ops.gated_residual_bn_relu(X, X, **vectors)
    with pytest.raises(InputError, match=message):
        ops.skip_merge_bn_relu(X, t(N, C, 2, 3), **vectors, mode="add")
    if name == "alpha":
        for op, other in ((ops.gated_residual, X), (ops.skip_merge, t(N, C, 2, 3))):
            with pytest.raises(InputError, match=message):
                op(X, other, 0.5)
    else:
        del vectors["alpha"]
        with pytest.raises(InputError, match=message):
            ops.bn_relu(X, **vectors)


def test_forced_backend_that_cannot_serve():
    with pytest.raises(InputError, match="backend must be one of .* got 'gpu'"), use_backend("gpu"):
        pass
    if not torch.cuda.is_available():
        with (
            pytest.raises(InputError, match="backend 'cuda', which cannot serve here: "),
            use_backend("cuda"),
        ):
            pass


@pytest.mark.parametrize("size", [(1, 4, 3, 6), (1, 4, 6, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_merge_backward_of_an_odd_size(size, layout, door):
    """It would write past the end of the half-size gradient."""
    module, convert = door
    d = convert(torch.zeros(size).contiguous(memory_format=layout))
    v = convert(t(4))
    with pytest.raises(InputError, match="merged must have an even height and width"):
        module.skip_merge_backward(d, None, None, 4, "add", [], [False, False, True, False])
    with pytest.raises(InputError, match="merged must have an even height and width"):
        module.skip_merge_bn_relu_backward(
            None, d, d, None, None, v, v, None, None, True, 1e-5, True, 4, "add", [],
            [True, False, True, False, False, False],
        )  # fmt: skip


def test_what_is_no_tensor_is_given_by_its_name():
    for op in (ops.gated_residual_bn_relu, ops.bn_relu, ops.skip_merge, ops.skip_merge_bn_relu):
        kinds = [p.kind for p in inspect.signature(op).parameters.values()]
        names = list(inspect.signature(op).parameters)
        by_name = {
            n for n, k in zip(names, kinds, strict=True) if k is inspect.Parameter.KEYWORD_ONLY
        }
        tensors = {"x", "skip", "low", "branches", "alpha", "running_mean", "running_var", "weight"}
        assert by_name - {"branches"} == set(names) - tensors - {"bias"}
    with pytest.raises(TypeError, match="positional arguments"):
        ops.bn_relu(X, *NORM, True)
