"""Convolutions by Winograd's algorithm in modules and whole networks: where it serves, and where not."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext import InputError, fold, recompute, use_backend
from softgate_ext.models import create_model
from softgate_ext.nn import WinogradConv2d, use_conv
from softgate_ext.ops.backend import unavailable

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)


class Seen(TorchDispatchMode):
    """The names of the ops that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def conv(**options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    made = nn.Conv2d(16, 24, **{"kernel_size": 3, "padding": 1, "groups": 2, **options})
    use_conv(made, "winograd")
    return made


def image(*size: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(size, generator=draw).to(memory_format=torch.channels_last)


def uses_winograd(function: Callable[[Tensor], object], x: Tensor) -> bool:
    with Seen() as seen:
        function(x)
    return "softgate::conv3x3" in seen.names


X = image(4, 16, 6, 5)


@needs_kernels
def test_it_serves_float32_in_channels_last() -> None:
    module = conv()
    assert type(module) is WinogradConv2d
    assert uses_winograd(module, X)
    assert uses_winograd(conv(padding="same", bias=False), X)
    wanted = nn.functional.conv2d(X, module.weight, module.bias, padding=1, groups=2)
    torch.testing.assert_close(module(X), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1, "padding": 0},
        {"kernel_size": 5, "padding": 2},
        {"stride": 2},
        {"dilation": 2, "padding": 2},
        {"padding": 0},
        {"padding_mode": "reflect"},
    ],
    ids=str,
)
def test_other_convolutions_stay_what_they_are(options: dict[str, object]) -> None:
    assert type(conv(**options)) is nn.Conv2d


def test_what_it_does_not_serve_is_convolved_directly() -> None:
    module = conv()

    def within(context, x: Tensor = X) -> bool:
        with context:
            return uses_winograd(module, x)

    assert not within(use_backend("reference"))
    assert not within(torch.autocast("cpu", torch.bfloat16))
    assert not uses_winograd(module, X.contiguous())
    assert not uses_winograd(module, X[0].contiguous())  # without a batch
    assert not uses_winograd(copy.deepcopy(module).double(), X.double())
    module.stride = (2, 2)
    assert module(X).shape == (4, 24, 3, 3)


def test_wrong_channels_are_refused_in_pytorch_s_words() -> None:
    with pytest.raises(RuntimeError, match="expected input.* to have 16 channels, but got 4"):
        conv()(image(4, 4, 8, 8))


def test_transforms_and_tracers_see_pytorch_s_convolution() -> None:
    module = conv()
    direct = copy.deepcopy(module)
    use_conv(direct, "direct")
    assert type(direct) is nn.Conv2d
    tangent = torch.ones_like(X)
    for transform in (
        lambda c: torch.func.jvp(c, (X,), (tangent,))[1],
        lambda c: torch.func.grad(lambda x: c(x).sum())(X),
        lambda c: torch.func.vmap(c)(X[None]),
        lambda c: torch.fx.symbolic_trace(nn.Sequential(c))(X),
        lambda c: torch.export.export(c, (X,)).module()(X),
    ):
        assert torch.equal(transform(module), transform(direct))


@needs_kernels
@pytest.mark.parametrize(
    ("size", "outputs", "groups", "served"),
    [
        ((4, 8, 8, 8), 8, 1, True),
        ((4, 7, 8, 8), 8, 1, False),
        ((4, 8, 8, 8), 7, 1, False),
        ((4, 16, 8, 8), 16, 2, True),
        ((4, 16, 8, 8), 16, 4, False),
        ((5, 8, 7, 4), 8, 1, False),  # 10 tiles
        ((1, 256, 16, 16), 256, 1, True),
        ((1, 512, 16, 16), 512, 1, False),
    ],
    ids=str,
)
def test_it_serves_where_it_is_faster(
    size: tuple[int, ...], outputs: int, groups: int, served: bool
) -> None:
    module = nn.Conv2d(size[1], outputs, 3, padding=1, groups=groups)
    use_conv(module, "winograd")
    with torch.no_grad():
        assert uses_winograd(module, image(*size)) == served


@needs_kernels
def test_a_compiled_module_keeps_the_kernels() -> None:
    module = conv()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = X.clone().requires_grad_()
    compiled(x).square().sum().backward()
    wanted = X.clone().requires_grad_()
    module(wanted).square().sum().backward()
    assert torch.equal(x.grad, wanted.grad)


def network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_model("hybrid_1x32", depth=2, **options).to(memory_format=torch.channels_last)


def step(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The gradients of all parameters."""
    model.zero_grad()
    model(x)[-1].square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@needs_kernels
def test_a_network_trains_as_it_does_directly() -> None:
    direct, ours = network(), network(conv="winograd")
    assert {type(m) for m in ours.modules()} >= {nn.Conv2d, WinogradConv2d}
    assert ours.state_dict().keys() == direct.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, direct.state_dict()[name]), name
    x = image(2, 3, 64, 64)
    wanted = step(direct.double(), x.double())
    got = step(ours, x)
    off = sum((got[name] - wanted[name]).square().sum() for name in wanted)
    whole = sum(gradient.square().sum() for gradient in wanted.values())
    assert (off / whole).sqrt() < 1e-5  # 2.9e-6; of PyTorch's float32 1.4e-6
    assert uses_winograd(ours, x) and not uses_winograd(network(), x)


@needs_kernels
def test_recompute_gives_the_same_bits() -> None:
    model, x = network(conv="winograd"), image(2, 3, 64, 64)
    kept = step(model, x)
    with recompute():
        loss = model(x)[-1].square().sum()
    model.zero_grad()
    loss.backward()
    for name, p in model.named_parameters():
        assert torch.equal(p.grad, kept[name]), name


@needs_kernels
def test_no_activation_is_copied_in_channels_last() -> None:
    model, x = network(conv="winograd"), image(2, 3, 64, 64)
    with Seen() as seen:
        model(x)[-1].square().sum().backward()
    assert "softgate::conv3x3_backward" in seen.names
    assert "aten::clone" not in seen.names


def test_a_folded_network_is_folded_from_plain_convolutions() -> None:
    model = network(conv="winograd").eval()
    folded = fold(model)
    assert not any(isinstance(part, WinogradConv2d) for part in folded.modules())
    assert any(isinstance(part, WinogradConv2d) for part in model.modules())
    x = image(1, 3, 32, 32)
    with torch.no_grad():
        wanted = model(x)[-1]
        for other in (folded, fold(model, conv="winograd")):
            assert (other(x)[-1] - wanted).abs().max() < 1e-5 * wanted.abs().max().clamp(min=1)


def test_hooks_and_parameters_stay() -> None:
    plain = nn.Conv2d(16, 24, 3, padding=1)
    seen = []
    plain.register_forward_hook(lambda *args: seen.append(args))
    parameters = list(plain.parameters())
    use_conv(plain, "winograd")
    plain(X)
    assert len(seen) == 1
    assert all(a is b for a, b in zip(parameters, plain.parameters(), strict=True))


def test_an_unknown_way_to_convolve_is_refused() -> None:
    with pytest.raises(InputError, match="conv must be 'direct' or 'winograd', got 'fft'"):
        network(conv="fft")
