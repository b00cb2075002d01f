"""A converted model is the same object, and can be copied, saved, wrapped and converted again."""

import copy
import io
import pickle

import pytest
import torch
from comparison import Block, C, Fusions, X, blocks, check, compare
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from softgate_ext import InputError, convert
from softgate_ext.nn import SoftGatedBlock


def test_one_model_one_state(fusions: Fusions):
    model = blocks(2)
    names, parameters = list(model.state_dict()), list(model.parameters())
    converted = convert(model)
    assert converted is model and list(model.state_dict()) == names
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    converted.eval()
    assert not any(m.training for m in model.modules())
    twin = blocks(2).eval()
    converted.load_state_dict(twin.state_dict(), assign=True)
    torch.testing.assert_close(converted(X), twin(X))
    converted.load_state_dict(blocks(2).state_dict())
    twin.load_state_dict(converted.state_dict())
    torch.testing.assert_close(converted(X), twin(X))
    converted.float()
    torch.testing.assert_close(converted(X.float()), twin.float()(X.float()))
    assert fusions.report.graphs == 2 and fusions.count == 8


@pytest.mark.parametrize("by", ["deepcopy", "pickle", "torch.save"])
def test_copies_are_independent_and_can_be_converted(by, fusions: Fusions):
    model = convert(blocks(1))
    before = model(X)
    if by == "deepcopy":
        twin = copy.deepcopy(model)
    elif by == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        torch.save(model, file := io.BytesIO())
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert twin[0].conv1.weight is not model[0].conv1.weight
    with torch.no_grad():
        twin[0].conv1.weight.zero_()
    torch.testing.assert_close(model(X), before)
    assert fusions.count == 2
    convert(twin)(X)
    assert fusions.count > 2 or fusions.graphs == 2


def test_converted_again_and_in_parts(fusions: Fusions):
    model = blocks(2)
    original = copy.deepcopy(model)
    for block in model:
        convert(block)
    compare(original, convert(convert(model)), X)
    assert fusions.graphs == 1 and fusions.count == 4


def test_twelve_blocks_one_by_one(fusions: Fusions):
    """Each has its own count of recompilations, though all share one forward."""
    model = nn.ModuleList(Block(2 + i) for i in range(12)).double()
    inputs = [X.new_ones(2, 2 + i, 4, 4) for i in range(12)]
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for block, x in zip(model, inputs, strict=True):
            expected = copy.deepcopy(block)(x)
            torch.testing.assert_close(convert(block)(x), expected)
    assert fusions.graphs == 12 and fusions.count == 24


def test_a_model_compiled_already(fusions: Fusions):
    model = blocks(1)
    with pytest.raises(InputError, match="model must be one that torch.compile has not wrapped"):
        convert(torch.compile(model, backend="eager"))
    model.compile(backend="eager")
    model(X)
    check(model)
    assert fusions.count == 2


def test_a_compiled_module_within_a_model(fusions: Fusions):
    model = nn.Sequential(torch.compile(blocks(1), backend="eager"), Block().double())
    twin = nn.Sequential(model[0]._orig_mod, model[1])
    compare(copy.deepcopy(twin), convert(model), X)
    assert fusions.count


def test_graph_modules(fusions: Fusions):
    """As torchvision's feature extraction makes them."""
    traced = torch.fx.symbolic_trace(blocks(1))
    original = copy.deepcopy(traced)
    traced.recompile()
    compare(original, convert(traced), X)
    assert fusions.count == 2


@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, X)])
def test_scripted_children(make, fusions: Fusions):
    scripted = make(nn.Sequential(nn.Conv2d(C, C, 1), nn.Sigmoid()).double())
    model = nn.Sequential(Block().double(), scripted, Block().double())
    plain = nn.Sequential(copy.deepcopy(model[0]), scripted, copy.deepcopy(model[2]))
    convert(model)
    torch.testing.assert_close(model(X), plain(X))
    assert fusions.count == 4


def test_modules_of_this_package_stay(fusions: Fusions):
    block = SoftGatedBlock(8, 8)
    model = nn.Sequential(nn.Conv2d(C, 8, 1), block, nn.BatchNorm2d(8), nn.ReLU()).double()
    check(model)
    assert [c.where for c in fusions.report.fused] == ["2"] and not fusions.report.left


def test_fused_convolutions():
    model = fuse_conv_bn_eval(nn.Conv2d(C, C, 1).eval(), nn.BatchNorm2d(C).eval()).double()
    check(nn.Sequential(model, Block().double()))


class Shared(nn.Module):
    """One block in two places."""

    def __init__(self):
        super().__init__()
        self.first = self.second = Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_a_block_called_twice(fusions: Fusions):
    check(Shared().double())
    assert fusions.count == 4


def test_a_model_is_asked_for():
    with pytest.raises(InputError, match="model must be a torch.nn.Module, got int"):
        convert(3)  # type: ignore[arg-type]
    for scripted in (torch.jit.script(nn.ReLU()), torch.jit.trace(nn.ReLU(), X)):
        with pytest.raises(InputError, match="got a .*Module of torch.jit"):
            convert(scripted)


@pytest.mark.parametrize("then", [3, "none", "softgate"])
def test_the_next_backend_is_asked_for_at_once(then):
    with pytest.raises(
        InputError, match=f"^then must be the name of another backend, got {then!r}"
    ):
        convert(blocks(1), then=then)
