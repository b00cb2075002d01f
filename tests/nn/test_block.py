"""The gated block against an unfused block written here in plain torch."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softgate_ext import use_backend
from softgate_ext.errors import InputError
from softgate_ext.nn import SoftGatedBlock
from softgate_ext.nn._pending import Pending


class PlainBlock(nn.Module):
    """The block, one PyTorch call at a time."""

    def __init__(self, i: int, o: int, gate: str):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o // 2, 3, 1, 1, bias=False)
        self.bn2, self.conv2 = (
            nn.BatchNorm2d(o // 2),
            nn.Conv2d(o // 2, o // 4, 3, 1, 1, bias=False),
        )
        self.bn3, self.conv3 = (
            nn.BatchNorm2d(o // 4),
            nn.Conv2d(o // 4, o // 4, 3, 1, 1, bias=False),
        )
        if i != o:
            self.skip_bn, self.skip_conv = nn.BatchNorm2d(i), nn.Conv2d(i, o, 1, bias=False)
        if gate != "none":
            self.alpha = nn.Parameter(torch.zeros(o if gate == "channel" else 1))

    def forward(self, x: Tensor) -> Tensor:
        f1 = self.conv1(F.relu(self.bn1(x)))
        f2 = self.conv2(F.relu(self.bn2(f1)))
        f3 = self.conv3(F.relu(self.bn3(f2)))
        if hasattr(self, "skip_conv"):
            x = self.skip_conv(F.relu(self.skip_bn(x)))
        if hasattr(self, "alpha"):
            x = self.alpha.view(1, -1, 1, 1) * x
        return x + torch.cat([f1, f2, f3], 1)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters and statistics away from their initial values, where mistakes would hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.normal_(0.1, 0.4, generator=generator)
    return module


def image(channels: int, dtype=torch.float32) -> Tensor:
    return torch.randn(2, channels, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(2))


def run(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers of one step."""
    module = copy.deepcopy(module)
    x = x.clone().requires_grad_()
    y = module(x)
    (
        y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)
    ).sum().backward()
    assert x.grad is not None
    result = {"y": y.detach(), "x.grad": x.grad, **dict(module.named_buffers())}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        result[name] = parameter.grad
    return result


def assert_same(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to `tolerance` of the largest value of each tensor."""
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item())
        torch.testing.assert_close(
            ours[name], value, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("channels", [(8, 8), (12, 8)])
@pytest.mark.parametrize("gate", ["channel", "block", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_plain_block(channels, gate, training):
    plain = randomised(PlainBlock(*channels, gate)).double().train(training)
    block = SoftGatedBlock(*channels, gate=gate).double().train(training)
    block.load_state_dict(plain.state_dict())
    x = image(channels[0], torch.float64)
    assert_same(run(block, x), run(plain, x), 1e-11)


@pytest.mark.parametrize("channels", [(16, 16), (12, 16)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_equals_reference_in_float32(fused, channels, training, layout):
    block = randomised(SoftGatedBlock(*channels)).to(fused, memory_format=layout).train(training)
    x = image(channels[0]).to(fused, memory_format=layout)
    with use_backend(fused):
        ours = run(block, x)
    with use_backend("reference"):
        expected = run(block, x)
    assert_same(ours, expected, 2e-5)
    assert ours["y"].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(backend, training):
    block = randomised(SoftGatedBlock(3, 4)).double().train(training)
    names, values = zip(*block.named_parameters(), strict=True)

    def forward(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    x = image(3, torch.float64)[:, :, :3, :3].clone().requires_grad_()
    with use_backend(backend):
        assert torch.autograd.gradcheck(forward, (x, *values), fast_mode=True)


def test_blocks_handing_on_unfinished_sums_equal_finished_ones():
    first, second = (randomised(SoftGatedBlock(8, 8), seed).double() for seed in (0, 1))
    x = image(8, torch.float64)
    handed_on = first(x, complete=False)
    assert isinstance(handed_on, Pending)
    torch.testing.assert_close(second(handed_on), second(first(x)), rtol=1e-12, atol=1e-12)


def test_state_is_ordinary_and_strict_both_ways():
    block, plain = SoftGatedBlock(12, 8), PlainBlock(12, 8, "channel")
    assert block.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(block.state_dict(), strict=True)
    block.load_state_dict(plain.state_dict(), strict=True)
    assert {type(m) for m in block.children()} == {nn.BatchNorm2d, nn.Conv2d}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copied):
    block = randomised(SoftGatedBlock(8, 8))
    x = image(8)
    assert_same(run(copied(block), x), run(block, x), 0)


def test_gates():
    assert SoftGatedBlock(8, 8).alpha.tolist() == [0.0] * 8
    assert SoftGatedBlock(4, 8, gate="block", alpha_init=0.5).alpha.tolist() == [0.5]
    assert SoftGatedBlock(8, 8, gate="none").alpha is None
    assert "alpha" not in SoftGatedBlock(8, 8, gate="none").state_dict()
    shut = SoftGatedBlock(8, 8, alpha_init=0.0)
    open_ = SoftGatedBlock(8, 8, alpha_init=1.0)
    open_.load_state_dict({**shut.state_dict(), "alpha": open_.alpha.detach()})
    x = image(8)
    torch.testing.assert_close(open_(x) - shut(x), x)


def test_says_what_it_is():
    assert repr(SoftGatedBlock(12, 8, gate="block")).startswith(
        "SoftGatedBlock(\n  12, 8, gate='block'"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((8, 6), "out_channels must be a positive multiple of 4, got 6"),
        ((8, 0), "out_channels must be a positive multiple of 4, got 0"),
        ((0, 8), "in_channels must be at least 1, got 0"),
        ((8, 8, "soft"), "gate must be 'channel', 'block' or 'none', got 'soft'"),
        ((8, 8, "channel", float("nan")), "alpha_init must be a finite number, got nan"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(InputError) as error:
        SoftGatedBlock(*arguments)
    assert str(error.value) == words


def test_one_graph_under_compile():
    block = randomised(SoftGatedBlock(12, 8)).double()
    x = image(12, torch.float64)
    expected = copy.deepcopy(block)(x)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-10, atol=1e-10)


def test_a_forward_put_on_a_norm_runs():
    """As tools that wrap the forwards of a model's modules do it."""
    block = randomised(SoftGatedBlock(8, 8)).eval()
    wanted, calls = block(image(8)), []
    for name in ("bn1", "bn2", "bn3"):
        norm = block.get_submodule(name)
        norm.forward = lambda x, own=norm.forward, name=name: calls.append(name) or own(x)
    torch.testing.assert_close(block(image(8)), wanted)
    assert calls == ["bn1", "bn2", "bn3"]
