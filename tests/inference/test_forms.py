"""How each module is folded, and which modules stay because their type is unknown."""

import copy

import pytest
import torch
from fold_networks import build, furthest, images, network, results, varied
from torch import Tensor, nn
from torch.nn.utils import parametrize, weight_norm

from softgate_ext import InputError, fold
from softgate_ext.inference.fold import Folded
from softgate_ext.inference.weights import ScaleShift
from softgate_ext.models.bottleneck import Bottleneck
from softgate_ext.models.hybrid import HybridNet
from softgate_ext.nn import SoftGatedBlock, SyncBatchNorm2d

X = images(2, 4, 6, 6) - 0.5


def kinds(module: nn.Module) -> list[str]:
    """What it holds, in order."""
    return [type(child).__name__ for child in module.children()]


def check(model: nn.Module, x: Tensor = X) -> Folded:
    folded = fold(model)
    assert furthest(results(folded, x), results(model, x)) < 1e-5
    return folded


def gated() -> SoftGatedBlock:
    return varied(SoftGatedBlock(4, 4))  # type: ignore[return-value]


def bottleneck() -> Bottleneck:
    return varied(Bottleneck(4, 4))  # type: ignore[return-value]


def test_norms_of_a_soft_gated_block_stay_in_its_ops():
    assert kinds(check(gated()).network) == ["ScaleShift", "Conv2d"] * 3


def test_norms_of_a_bottleneck_move_into_its_convolutions():
    net = check(bottleneck()).network
    assert kinds(net) == ["ScaleShift", "Conv2d", "Identity", "Conv2d", "Identity", "Conv2d"]


def test_norms_of_stem_and_heads_move_and_one_convolution_leads_back():
    net = check(build("hybrid"), images(1, 3, 32, 32)).network
    assert isinstance(net.stem.bn, nn.Identity)
    first, last = net.stacks
    for stack in net.stacks:
        assert isinstance(stack.bn, nn.Identity)
    assert isinstance(first.feedback_features, nn.Conv2d) and first.feedback_heatmaps is None
    assert last.feedback_features is None
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(isinstance(norm, ScaleShift) for norm in norms)


def test_it_prints_as_the_tree_that_it_is():
    text = str(fold(build("block"), torch.bfloat16))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == [
        "Folded(",
        "dtype=torch.bfloat16, channels_last=False",
        "(network): SoftGatedBlock(",
    ]
    assert "8, 16, gate='channel'" in lines and "(skip_bn): ScaleShift(8)" in lines


def test_what_is_held_twice_is_folded_once_and_for_each():
    net = network(stacks=3)
    net.stacks[1] = net.stacks[0]
    folded = check(net, images(1, 3, 32, 32)).network
    assert folded.stacks[1] is folded.stacks[0]

    hourglass = network(block="bottleneck", gate="none").stacks[0].hourglass
    skip, encoder = hourglass.down[0].children()
    encoder.conv1 = skip.conv1  # one convolution with two norms behind it
    encoder.bn3 = skip.bn3  # and a norm behind two
    check(hourglass, images(1, 16, 8, 8))


@pytest.mark.parametrize(
    "norm",
    [
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2),
        nn.Identity(),
        nn.BatchNorm2d(2, track_running_stats=False),
        type("Own", (nn.BatchNorm2d,), {"forward": lambda self, x: x * self.running_var[0]})(2),
        type("Training", (nn.BatchNorm2d,), {"train": lambda self, _: nn.Module.train(self)})(2),
    ],
    ids=lambda norm: f"{type(norm).__name__}",
)
@pytest.mark.parametrize("make", [gated, bottleneck])
def test_norms_of_which_nothing_is_constant_stay(make, norm):
    block = make()
    block.bn2 = copy.deepcopy(norm).train(False)
    folded = fold(block)
    assert type(folded.network.bn2) is type(norm)
    # A norm in training mode learns from every call.
    wanted = results(copy.deepcopy(block), X)
    assert furthest(results(folded, X), wanted) < 1e-5


@pytest.mark.parametrize("norm", [nn.SyncBatchNorm, SyncBatchNorm2d])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms_of_other_classes_are_folded(norm, affine):
    for make in (gated, bottleneck):
        block = make()
        block.bn1, block.bn2 = norm(4, affine=affine), norm(2, affine=affine)
        folded = check(varied(block))
        assert not any(type(m) is norm for m in folded.modules())


class Doubled(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return 2 * value


def test_hooks_and_parametrizations_keep_what_they_are_on():
    calls = []
    for make in (gated, bottleneck):
        for name in ("bn1", "conv1", "bn2", ""):
            block = make()
            block.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
            folded = check(block).network
            assert len(calls) == 2, name
            calls.clear()
            assert type(folded.get_submodule(name)) is type(block.get_submodule(name))
            assert isinstance(folded.bn3, ScaleShift | nn.Identity)
        for name in ("bn1", "conv1", "bn2", "conv2"):
            block = make()
            parametrize.register_parametrization(block.get_submodule(name), "weight", Doubled())
            assert "Parametrized" in type(check(block).network.get_submodule(name)).__name__


class Same(Bottleneck):
    """A subclass that leaves the forward alone."""


class Own(Bottleneck):
    """One that does not, and reads a convolution twice."""

    def forward(self, x: Tensor, complete: bool = True) -> Tensor:
        f = self.conv1(x)
        return x + self.conv3(f.tanh() + self.bn2(f))


def test_a_part_with_a_forward_of_its_own_is_left_with_all_that_it_holds():
    net = network(block="bottleneck", gate="none")
    down, up = net.stacks[0].hourglass.down[0], net.stacks[0].hourglass.up[0]
    down.skip = varied(nn.Sequential(nn.Conv2d(16, 16, 1), Bottleneck(16, 16)))
    plain = down.encoder.forward
    down.encoder.forward = lambda x: 2 * plain(x)
    up.decoder, net.stacks[0].block = varied(Own(16, 16)), varied(Same(16, 16))
    stack = check(net, images(1, 3, 32, 32)).network.stacks[0]
    down, up = stack.hourglass.down[0], stack.hourglass.up[0]
    for left in (down.skip, down.encoder, up.decoder):
        assert not any(isinstance(m, ScaleShift | nn.Identity) for m in left.modules())
    assert isinstance(stack.block, Same) and isinstance(stack.block.bn2, nn.Identity)


def test_a_forward_replaced_in_its_class_is_left(monkeypatch):
    monkeypatch.setattr(Bottleneck, "forward", lambda self, x, complete=True: self.conv1(x))
    net = network(block="bottleneck", gate="none", stacks=1)
    assert isinstance(fold(net).network.stem.block1.bn2, nn.BatchNorm2d)


def test_a_compiled_model_is_folded_as_the_module_that_it_is():
    block = gated()
    wanted = results(block, X)
    block.compile(backend=lambda *_: pytest.fail("a folded network is compiled by itself"))
    assert furthest(results(fold(block), X), wanted) < 1e-5


def test_a_model_that_cannot_be_copied_is_said():
    block = gated()
    weight_norm(block.conv1)
    with pytest.raises(
        InputError, match="^model must be one that copy.deepcopy can .* got .*leaves"
    ):
        fold(block)


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = SoftGatedBlock(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class OwnNetwork(HybridNet):
    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images)[:1]


@pytest.mark.parametrize(
    "model",
    [Foreign(), nn.Sequential(gated()), nn.ModuleList([gated()]), OwnNetwork(8, 1, 1, 1)],
    ids=lambda model: type(model).__name__,
)
def test_models_of_others_are_refused_and_served_elsewhere(model):
    name = type(model).__name__
    with pytest.raises(InputError) as error:
        fold(model)
    assert str(error.value) == (
        f"model must be a network or block of softgate_ext, got {name}; for any other, "
        "softgate_ext.convert (conv='winograd' on the CPU) and torch.compile with "
        "torch._inductor.config.freezing = True do what fold does"
    )


def test_scripted_modules_stay():
    model = gated()
    model.bn2 = torch.jit.script(nn.Identity())
    check(model)
    with pytest.raises(InputError, match="^model must be a network or block of softgate_ext, got"):
        fold(model.bn2)
    model.conv2 = torch.jit.script(model.conv2)
    with pytest.raises(InputError, match="^model must be one that copy.deepcopy can copy, got"):
        fold(model)  # whose weights have a history in the copy
