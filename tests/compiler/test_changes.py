"""Models that are changed after tracing, and facts that a trace must check again."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
from comparison import Block, C, Fusions, X, blocks, check, compare
from torch import Tensor, nn
from torch.nn import functional as F

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
