"""Forwards that do more than tensors hold, and models that are changed after they were traced."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
from comparison import Block, C, Fusions, X, blocks, check, compare, modes
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from softgate_ext import convert


class UNet(nn.Module):
    """A norm and a ReLU, and a merge with what is upsampled; `up` and `relu` are modules."""

    def __init__(self, up: nn.Module | None = None):
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.bn = nn.BatchNorm2d(C)
        self.relu = nn.ReLU()
        self.up = nn.Upsample(scale_factor=2) if up is None else up

    def forward(self, x: Tensor) -> Tensor:
        z = self.relu(self.bn(self.conv(x)))
        return torch.cat([z, self.up(F.max_pool2d(z, 2))], 1)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ["relu", "up", "bn"])
def test_hooks_within_a_chain_run(name, late):
    model, seen = UNet().double(), []

    def watch(module, args, out):
        seen.append(out.shape)
        return out * 2

    if late:
        model = convert(model)
        model(X)
    model.get_submodule(name).register_forward_hook(watch)
    expected = copy.deepcopy(model)(X)
    torch.testing.assert_close(convert(model)(X), expected)
    assert len(seen) == 2 and seen[0] == seen[1]


def test_a_forward_put_on_a_module_runs():
    model = convert(UNet().double())
    model(X)
    model.relu.forward = lambda x: F.relu(x) * 3
    got = model(X)
    del model._compiled_call_impl
    torch.testing.assert_close(got, model(X))


class NoGradUpsample(nn.Upsample):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class RandomUpsample(nn.Upsample):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + (torch.rand(()) < 2))


@pytest.mark.parametrize("kind", [NoGradUpsample, RandomUpsample])
def test_subclasses_of_upsample(kind):
    check(UNet(kind(scale_factor=2)).double())


class Flagged(Block):
    """Returns twice as much where a flag is set."""

    flag = False
    name = "flag"

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * 2 if getattr(self, self.name) else y


@pytest.mark.parametrize("where", ["instance", "class", "none to tensor"])
def test_an_attribute_changed_later_counts(where, monkeypatch):
    model = convert(Flagged().double().eval())
    once = model(X)
    if where == "instance":
        model.flag = True
    elif where == "class":
        monkeypatch.setattr(Flagged, "flag", True)
    else:
        model.flag = torch.ones(())
    torch.testing.assert_close(model(X), 2 * once)


def test_a_parameter_set_to_none_later():
    model = convert(Block().double().eval())
    model(X)
    model.conv2.bias = model.bn1.weight = None
    torch.testing.assert_close(model(X), copy.deepcopy(model)(X))


def test_a_tensor_made_in_forward():
    class Shifted(Block):
        def forward(self, x: Tensor) -> Tensor:
            shift = torch.tensor([0.5, 0.25, 0.0, 1.0, 2.0, 3.0], dtype=x.dtype)
            return super().forward(x + shift.view(1, -1, 1, 1))

    check(Shifted().double())


class Decoder(Block):
    """With a skip that may be left out, as decoder blocks have."""

    def forward(self, x: Tensor, skip: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = skip + x
        return super().forward(x) * scale


def test_optional_arguments(fusions: Fusions):
    model = Decoder().double()
    original, high = copy.deepcopy(model), X.repeat(1, 1, 2, 2)
    convert(model)
    compare(original, model, X, scale=2.0)
    without = [c.chain for c in fusions.report.fused]
    compare(original, model, X, high)
    with_skip = [c.chain for c in fusions.report.fused[len(without) :]]
    assert without == ["BatchNorm, ReLU", "BatchNorm, ReLU"]
    assert with_skip == ["2x upsampling, add, BatchNorm, ReLU", "BatchNorm, ReLU"]


FACTOR = 1.0


@pytest.mark.parametrize("asks", ["global", "autocast"])
def test_what_a_forward_asks_is_asked_in_each_call(asks, monkeypatch):
    class Asking(Block):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x) * FACTOR
            return y * 3 if torch.is_autocast_enabled("cpu") else y

    model = Asking().eval()
    original, x = copy.deepcopy(model), X.float()
    model = convert(model)
    torch.testing.assert_close(model(x), original(x))
    if asks == "global":
        monkeypatch.setitem(globals(), "FACTOR", 2.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=asks == "autocast"):
        torch.testing.assert_close(model(x), original(x))


class Registered(Block):
    """A class that its subclasses have to introduce themselves to."""

    kinds: list[str] = []

    def __init_subclass__(cls, *, label: str) -> None:
        cls.kinds.append(label)


class Special(Registered, label="special"):
    pass


def test_a_class_with_init_subclass(fusions: Fusions):
    check(Special().double())
    assert Registered.kinds == ["special"] and fusions.count


def test_another_thread_draws_random_numbers(fusions: Fusions):
    """It says nothing about the model."""
    done = threading.Event()

    def draw() -> None:
        while not done.is_set():
            random.random(), np.random.random(), torch.rand(1)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        model = blocks(1)
        expected = copy.deepcopy(model)(X)
        torch.testing.assert_close(convert(model)(X), expected)
    finally:
        done.set()
        thread.join()
    assert fusions.count == 2


class Double(torch.autograd.Function):
    """Twice the value, and three times the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 3


class Doing(Block):
    """Does what it is given."""

    def __init__(self, do):
        super().__init__()
        self.do = do
        self.seen: list[Tensor] = []
        self.calls = 0
        self.features = None

    def forward(self, x: Tensor) -> Tensor:
        return self.do(self, x)


def _no_grad(m, x):
    with torch.no_grad():
        x = m.conv1(x)
    return x + m.branch(x)


def _checkpointed(reentrant):
    return lambda m, x: x + checkpoint(m.branch, x, use_reentrant=reentrant)


def _autocast(enabled):
    def forward(m, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            h = m.conv1(x.to(m.conv1.weight.dtype))
        return h + m.branch(x)

    return forward


def _layer_drop(draw):
    return lambda m, x: x * 1 if m.training and draw() < 0.5 else x + m.branch(x)


def _stores(m, x):
    m.features = x + m.branch(x)
    return m.features * 1


def _appends(m, x):
    m.seen.append(x)
    return x + m.branch(x)


def _counts(m, x):
    m.calls += 1
    return (x + m.branch(x)) * m.calls


def _writes(m, x):
    m.bn1.num_batches_tracked += 1
    return x * m.bn1.num_batches_tracked.double() + m.branch(x)


DOING = {
    "isinstance": lambda m, x: m.branch(x) + (x if isinstance(x.shape[1], int) else x[0]),
    "autograd.Function": lambda m, x: Double.apply(x) + m.branch(x),
    "no_grad": _no_grad,
    "checkpoint": _checkpointed(False),
    "reentrant checkpoint": _checkpointed(True),
    "autocast": _autocast(True),
    "no autocast": _autocast(False),
    "random": _layer_drop(random.random),
    "numpy.random": _layer_drop(np.random.random),
    "torch.rand": _layer_drop(lambda: torch.rand(1).item()),
    "attribute": _stores,
    "list": _appends,
    "counter": _counts,
    "buffer": _writes,
    "values": lambda m, x: x + m.branch(x) if x.sum() > -1e9 else x,
}


@pytest.mark.parametrize("name", DOING)
@modes
def test_forwards_that_do_more(name, modes):
    """Three calls in each mode."""
    model = Doing(DOING[name]).double()
    original, converted = copy.deepcopy(model), convert(model)
    for training in modes:
        results = []
        for m in (original.train(training), converted.train(training)):
            random.seed(0), np.random.seed(0), torch.manual_seed(0)
            inputs = X.clone().requires_grad_()
            outs = [m(inputs) for _ in range(3)]
            sum(out.square().sum() for out in outs).backward()
            grads = [inputs.grad, *(p.grad for p in m.parameters())]
            results.append([*outs, *grads, *m.buffers(), m.calls, len(m.seen), m.features])
        loose = {"rtol": 1e-2, "atol": 1e-2} if name == "autocast" else {}
        torch.testing.assert_close(results[1], results[0], **loose)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_addition_in_place_keeps_the_dtype_under_autocast(dtype, swap):
    def forward(m, x):
        out = m.conv1(F.relu(m.bn1(x)))
        if swap:
            x = x.clone()
            x += out
            out = x
        else:
            out += x
        return torch.cat([out, F.relu(m.bn2(out))], 1)

    model = Doing(forward).eval()
    original, converted = copy.deepcopy(model), convert(model)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(converted(X.float()), original(X.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_call(dtype, fusions: Fusions):
    """The residual stream is of half precision throughout, and its chains are fused."""
    model = nn.Sequential(nn.Conv2d(C, C, 1), Block(), Block())
    original, converted = copy.deepcopy(model), convert(model)
    with torch.autocast("cpu", dtype):
        got, wanted = converted(X.float()), original(X.float())
    assert got.dtype == wanted.dtype and fusions.count == 4
    torch.testing.assert_close(got, wanted, rtol=5e-2, atol=5e-2)
    got.float().sum().backward()
    assert all(p.grad is not None for p in converted.parameters())


@pytest.mark.parametrize(
    "options", [{}, {"track_running_stats": False}, {"affine": False}], ids=str
)
@modes
def test_norms_of_any_kind(options, modes, fusions: Fusions):
    norm = nn.BatchNorm2d(C, momentum=0.3, **options)
    check(nn.Sequential(nn.Conv2d(C, C, 1), norm, nn.ReLU()).double(), modes=modes)
    assert fusions.count


@pytest.mark.slow
def test_a_norm_with_a_cumulative_average():
    """Its momentum is read out of a tensor, where Dynamo ends the graph."""
    model = nn.Sequential(nn.Conv2d(C, C, 1), nn.BatchNorm2d(C, momentum=None), nn.ReLU()).double()
    check(model, modes=(True, True, True, False))


def test_a_momentum_computed_in_the_forward(fusions: Fusions):
    def forward(m, x):
        momentum = x.shape[0] / (x.shape[0] + 4)
        statistics = (m.bn1.running_mean, m.bn1.running_var)
        return F.relu(F.batch_norm(x, *statistics, training=True, momentum=momentum))

    model = Doing(forward).double()
    original = copy.deepcopy(model)
    model.compile(backend="softgate", dynamic=True)
    for n in (3, 5):
        compare(original, model, X[:1].repeat(n, 1, 1, 1))
    assert fusions.count


def test_a_size_that_depends_on_values(fusions: Fusions):
    def forward(m, x):
        return m.branch(x[(x.sum((1, 2, 3)) > -1e9).nonzero()[:, 0]])

    model = Doing(forward).double()
    expected = copy.deepcopy(model)(X)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        torch.testing.assert_close(convert(model)(X), expected)


def test_tensors_of_a_gpu(fusions: Fusions):
    """That there is none does not matter: the fake tensors of a trace decide."""
    with FakeTensorMode(), torch.device("cuda"):
        out = convert(Block())(torch.empty(2, C, 8, 8))
    assert out.device.type == "cuda" and fusions.count == 2


def test_inference_mode(fusions: Fusions):
    model = blocks(2).eval()
    original = copy.deepcopy(model)
    with torch.inference_mode():
        torch.testing.assert_close(convert(model)(X), original(X))
    assert fusions.count == 4


def test_sync_batch_norm_put_in_later():
    model = convert(blocks(1))
    model(X)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
    torch.testing.assert_close(model(X), copy.deepcopy(model)(X))


def test_children_put_in_added_and_taken_later_count():
    model = convert(blocks(3).eval())
    whole = model(X)
    torch.testing.assert_close(model[:2](X), model[1](model[0](X)))
    model.append(nn.Sigmoid())
    torch.testing.assert_close(model(X), whole.sigmoid())
    del model[-1]
    torch.testing.assert_close(model(X), whole)
    model[2] = nn.Identity()
    torch.testing.assert_close(model(X), model[:2](X))


def test_a_transform_of_torch_func():
    model = blocks(1).eval()
    original = copy.deepcopy(model)
    vmapped = torch.func.vmap(lambda x: model[0](x))
    model.compile(backend="eager")
    batch = torch.stack([X, 2 * X])
    torch.testing.assert_close(
        torch.compile(vmapped, backend="softgate")(batch),
        torch.stack([original(x) for x in batch]),
    )
