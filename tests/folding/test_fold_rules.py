"""What each rule takes, and what it must leave."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import softgate_ext
from softgate_ext import InputError, fold
from softgate_ext.folding import Folded, ScaleShift
from softgate_ext.folding.pool import max_pool_by_2
from softgate_ext.nn import GatedResidualBNReLU, SkipMerge, SoftGatedBlock


class Net(nn.Module):
    """A forward over a few modules."""

    def __init__(self, forward, **modules: nn.Module):
        super().__init__()
        self.steps = forward
        generator = torch.Generator().manual_seed(0)
        for name, module in modules.items():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.running_mean, module.bias):
                    if value is not None:
                        value.data.normal_(0.0, 0.5, generator=generator)
            self.add_module(name, module)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def kinds(folded: Folded) -> list[str]:
    """What the graph's steps are, in order."""
    graph = folded.network
    names = []
    for node in graph.graph.nodes:
        if node.op == "call_module":
            names.append(type(graph.get_submodule(node.target)).__name__)
        elif node.op == "call_function":
            names.append(node.target.__name__)
    return names


def check(model: nn.Module, expected: list[str]) -> Folded:
    folded, x = fold(model), torch.randn(2, 4, 6, 6)
    assert kinds(folded) == expected
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)
    return folded


def test_a_norm_behind_a_convolution_moves_into_it():
    for conv in (nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3, groups=2, bias=False, padding=1)):
        net = Net(lambda m, x: F.relu(m.bn(m.conv(x))), conv=conv, bn=nn.BatchNorm2d(6))
        check(net, ["Conv2d", "relu"])
    net = Net(lambda m, x: m.bn(m.conv(x)), conv=nn.Conv2d(4, 6, 3), bn=nn.BatchNorm2d(6))
    check(net, ["Conv2d"])


def test_it_stays_where_others_read_the_convolution():
    def forward(m, x):
        f = m.conv(x)
        return f + m.relu(m.bn(f))

    net = Net(forward, conv=nn.Conv2d(4, 6, 3), bn=nn.BatchNorm2d(6), relu=nn.ReLU())
    check(net, ["Conv2d", "ScaleShift", "add"])


def test_it_stays_where_the_convolution_is_called_twice():
    def forward(m, x):
        return m.bn(m.conv(F.relu(m.conv(x))))

    net = Net(forward, conv=nn.Conv2d(4, 4, 3), bn=nn.BatchNorm2d(4))
    check(net, ["Conv2d", "relu", "Conv2d", "ScaleShift"])


def test_it_stays_where_others_read_the_weights():
    def forward(m, x):
        return m.bn(m.conv(x)) + m.conv.weight.sum()

    net = Net(forward, conv=nn.Conv2d(4, 4, 3), bn=nn.BatchNorm2d(4))
    check(net, ["Conv2d", "ScaleShift", "add"])


def test_a_norm_that_is_called_twice():
    def forward(m, x):
        return F.relu(m.bn(x)) + m.bn(x * 2)

    folded = check(
        Net(forward, bn=nn.BatchNorm2d(4, affine=False)),
        ["ScaleShift", "mul", "ScaleShift", "add"],
    )
    modules = [m for m in folded.modules() if isinstance(m, ScaleShift)]
    assert sorted(m.relu for m in modules) == [False, True]


def test_a_norm_whose_weights_others_read():
    def forward(m, x):
        return m.bn(x) * m.bn.weight.sum()

    check(Net(forward, bn=nn.BatchNorm2d(4)), ["ScaleShift", "mul"])


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False), nn.Identity()]
)
def test_other_norms_stay(norm):
    check(Net(lambda m, x: F.relu(m.norm(x)), norm=norm), [type(norm).__name__, "relu"])


@pytest.mark.parametrize("mode", ["concat", "add"])
def test_modules_of_this_package_in_a_network_of_anybody(mode):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.sum = GatedResidualBNReLU(4, alpha_init=0.5)
            self.split = GatedResidualBNReLU(4, gate="block", alpha_init=0.5, relu=False)
            self.merge = SkipMerge(4, mode=mode, alpha_init=0.5, bn_relu=True)
            self.plain = SkipMerge(4, gate="none")
            for norm in (self.sum.bn, self.split.bn, self.merge.bn):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)

        def forward(self, x, low):
            y, z = self.sum(x, low)
            y, z = self.split(y, [z[:, :1], z[:, 1:]])
            low = F.max_pool2d(z, 2)
            return *self.merge(y, low, z), self.plain(z, low)

    torch.manual_seed(0)
    model = Decoder().eval()
    folded, x, low = fold(model), torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    assert kinds(folded).count("ScaleShift") == 3
    with torch.no_grad():
        for got, wanted in zip(folded(x, low), model(x, low), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_block_with_another_norm_keeps_it():
    block = SoftGatedBlock(4, 4, alpha_init=0.5).eval()
    block.bn2 = nn.GroupNorm(1, 2)
    block.bn3 = nn.BatchNorm2d(1, track_running_stats=False).eval()
    names = kinds(fold(block))
    assert names.count("GroupNorm") == 1 and names.count("bn_relu") == 1
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(fold(block)(x), block(x), rtol=1e-5, atol=1e-5)


def test_a_norm_with_a_hook_is_called():
    block = SoftGatedBlock(4, 4).eval()
    calls = []
    block.bn2.register_forward_hook(lambda *_: calls.append(1))
    folded = fold(block)
    folded(torch.randn(1, 4, 6, 6))
    assert calls == [1]


def test_hooks_that_would_be_lost_are_refused():
    block = SoftGatedBlock(4, 4)
    net = Net(lambda m, x: m.block(x), block=block)
    block.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="^model must have no hooks on modules .* 'block'$"):
        fold(net)
    with pytest.raises(InputError, match="^model must have no hooks, got some, which"):
        fold(block)


def test_a_forward_that_cannot_be_traced_is_refused():
    net = Net(lambda m, x: x if x.sum() > 0 else -x)
    with pytest.raises(
        InputError, match="^model must be one that torch.fx can trace, got Net"
    ) as e:
        fold(net)
    assert "\n" not in str(e.value)


def test_1x1_convolutions_that_meet_again_are_one():
    def forward(m, x):
        maps = m.c(x)
        return m.a(x) + m.b(maps), maps

    net = Net(forward, a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(3, 6, 1, bias=False), c=nn.Conv2d(4, 3, 1))
    folded, x = fold(net), torch.randn(2, 4, 6, 6)
    assert kinds(folded) == ["Conv2d", "Conv2d"]
    with torch.no_grad():
        for got, wanted in zip(folded(x), net(x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [{"kernel_size": 3, "padding": 1}, {"groups": 2}])
def test_other_convolutions_are_not_joined(change):
    a = nn.Conv2d(4, 6, **{"kernel_size": 1} | change)
    net = Net(lambda m, x: m.a(x) + m.b(m.c(x)), a=a, b=nn.Conv2d(3, 6, 1), c=nn.Conv2d(4, 3, 1))
    assert sorted(kinds(fold(net))) == ["Conv2d", "Conv2d", "Conv2d", "add"]


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_without_a_record_is_the_same(size, layout):
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout)
    x[0, 0, 0, 1] = torch.nan
    got = max_pool_by_2(x)
    assert torch.equal(got.nan_to_num(9), F.max_pool2d(x, 2).nan_to_num(9))
    assert got.is_contiguous(memory_format=layout)


def test_other_poolings_stay():
    net = Net(lambda m, x: F.max_pool2d(x, 2) + F.max_pool2d(x, 3, stride=2, padding=1))
    assert kinds(fold(net)).count("max_pool_by_2") == 1
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(fold(net)(x), net(x))


def test_1x1_convolutions_of_different_widths_are_not_joined():
    one = nn.Conv2d(3, 1, 1)  # broadcast over the others' channels
    net = Net(lambda m, x: m.a(x) + m.b(m.c(x)), a=nn.Conv2d(4, 6, 1), b=one, c=nn.Conv2d(4, 3, 1))
    check(net, ["Conv2d", "Conv2d", "Conv2d", "add"])


def test_images_of_any_kind_are_normalised():
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.rand(1, 3, 1, 1))
            self.register_buffer("std", torch.rand(1, 3, 1, 1) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) / self.std

    model = Images()
    folded, half = fold(model), fold(model, torch.bfloat16)
    assert kinds(folded) == ["ImageNorm"]
    images = (torch.rand(2, 3, 4, 5), torch.rand(2, 1, 4, 5), torch.rand(3, 4, 5), torch.rand(()))
    whole = (torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8), torch.rand(2, 3, 4, 5).half())
    for x in (*images, *whole):
        torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-4)
        assert half(x).dtype == torch.bfloat16
        torch.testing.assert_close(half(x).float(), model(x), rtol=2e-2, atol=1)


def test_norms_called_by_keyword():
    check(Net(lambda m, x: F.relu(m.bn(input=x)), bn=nn.BatchNorm2d(4)), ["ScaleShift"])


def test_without_a_dtype_a_mixed_model_stays_mixed():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1).bfloat16()
            self.gate = nn.Parameter(torch.rand(1, 4, 1, 1).half())
            self.last = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.conv(x.bfloat16()), self.last(x * self.gate)

    model, x = Mixed().eval(), torch.randn(1, 4, 3, 3)
    for folded in (fold(model), fold(model, channels_last=True)):
        for got, wanted in zip(folded(x), model(x), strict=True):
            torch.testing.assert_close(got, wanted)


def test_arguments():
    class Several(nn.Module):
        def forward(self, x: Tensor, maps: dict[str, list[Tensor]], scale: float = 2.0) -> Tensor:
            return (x + maps["a"][0]) * scale

    folded, x = fold(Several(), torch.bfloat16), torch.ones(2)
    for args, options in (((x, {"a": [x]}), {}), ((x,), {"maps": {"a": [x]}, "scale": 2.0})):
        assert folded(*args, **options).dtype == torch.bfloat16
        assert torch.equal(folded(*args, **options).float(), torch.full((2,), 4.0))
    for args, options, message in (
        ((x,), {}, "maps must be given"),
        ((x, {"a": [x]}, 3.0), {}, "scale must be 2.0, with which it was traced, got 3.0"),
        ((x, {"a": [x]}, 2.0, x), {}, "takes 3 arguments by position, got 4"),
        ((x,), {"x": x}, "got an argument 'x' twice"),
        ((x,), {"y": x}, "got an argument 'y' that it has not"),
    ):
        with pytest.raises(InputError, match=f"^the folded network: {message}$"):
            folded(*args, **options)


def test_a_converted_model_and_the_ops_by_any_name():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor, *, times: int = 2) -> Tensor:
            z = F.relu(self.bn(x + self.conv(x))) * times
            return softgate_ext.bn_relu(z, self.bn.running_mean, self.bn.running_var)

    model, x = Chain().eval(), torch.randn(2, 4, 6, 6)
    converted = softgate_ext.convert(model)
    for folded in (fold(model), fold(converted)):
        torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert kinds(fold(model)).count("ScaleShift") == 2
    half = fold(converted, torch.bfloat16)(x)
    torch.testing.assert_close(half.float(), model(x), rtol=5e-2, atol=5e-2)


def test_inputs_may_be_of_any_kind():
    """Only floating-point tensors are converted."""
    net = Net(lambda m, x: x + 1)
    folded = fold(net, torch.bfloat16, channels_last=True)
    assert folded(torch.zeros(3)).dtype == torch.bfloat16
    assert folded(torch.zeros(3, dtype=torch.int64)).dtype == torch.int64
