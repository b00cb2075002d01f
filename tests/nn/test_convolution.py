"""Which convolutions of modules and networks use Winograd's algorithm."""

import copy
from collections.abc import Callable

import pytest
import torch
from seen import Seen
from torch import Tensor, nn

from softgate_ext import InputError, fold, recompute, use_backend
from softgate_ext.models import create_model
from softgate_ext.nn import WinogradConv2d, convolution, use_conv
from softgate_ext.ops.backend import unavailable
from softgate_ext.ops.processor import Bf16

needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)


def conv(**options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    made = nn.Conv2d(16, 24, **{"kernel_size": 3, "padding": 1, "groups": 2, **options})
    use_conv(made, "winograd")
    return made


@pytest.fixture
def bf16_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the kernels were faster in bfloat16 wherever they are in float32, whatever the processor."""
    cut = convolution.CUTS[torch.float32]
    monkeypatch.setattr(convolution, "CUTS", {torch.float32: cut, torch.bfloat16: cut})


def autocast(dtype: torch.dtype = torch.bfloat16, enabled: bool = True) -> torch.autocast:
    return torch.autocast("cpu", dtype, enabled=enabled)


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


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_serves_autocast_to_bfloat16(bf16_pays: None, dtype: torch.dtype) -> None:
    module, x = conv(), X.to(dtype, copy=True).requires_grad_()
    with autocast():
        assert uses_winograd(module, x)
        y = module(x)
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
    y.float().square().sum().backward()
    assert x.grad.dtype == dtype and module.weight.grad.dtype == torch.float32
    wide, copied = X.bfloat16().float().requires_grad_(), copy.deepcopy(module)
    copied.zero_grad()
    copied(wide).square().sum().backward()
    for got, wanted in ((x.grad.float(), wide.grad), (module.weight.grad, copied.weight.grad)):
        assert (got - wanted).norm() < 5e-3 * wanted.norm()


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


def test_what_it_does_not_serve_is_convolved_directly(bf16_pays: None) -> None:
    module = conv()

    def within(context, x: Tensor = X) -> bool:
        with context:
            return uses_winograd(module, x)

    assert not within(use_backend("reference"))
    assert not within(autocast(torch.float16))
    with autocast():
        assert not uses_winograd(copy.deepcopy(module).bfloat16(), X)
        with pytest.raises(RuntimeError, match="should be the same"):
            module(X.double())
    with pytest.raises(RuntimeError, match="should be the same"):
        module(X.bfloat16())  # without autocast
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
@pytest.mark.parametrize(
    ("how", "size", "outputs", "served"),
    [
        ("vectors", (4, 24, 8, 8), 24, True),
        ("vectors", (4, 24, 8, 8), 23, False),
        ("vectors", (1, 64, 16, 16), 64, True),
        ("vectors", (1, 64, 16, 16), 65, False),
        ("emulated", (4, 8, 8, 8), 8, True),
        ("emulated", (1, 256, 16, 16), 256, True),
        ("tiles", (4, 64, 64, 64), 64, False),
        ("unknown", (4, 64, 64, 64), 64, False),
    ],
    ids=str,
)
def test_it_serves_bfloat16_where_the_processor_is_slower(
    monkeypatch: pytest.MonkeyPatch, how: Bf16, size: tuple[int, ...], outputs: int, served: bool
) -> None:
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts(how))
    module = nn.Conv2d(size[1], outputs, 3, padding=1)
    use_conv(module, "winograd")
    with torch.no_grad(), autocast():
        assert uses_winograd(module, image(*size)) == served


@needs_kernels
@pytest.mark.parametrize("enabled", [False, True], ids=["float32", "autocast"])
def test_a_compiled_module_keeps_the_kernels(bf16_pays: None, enabled: bool) -> None:
    module = conv()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x, wanted = X.clone().requires_grad_(), X.clone().requires_grad_()
    with autocast(enabled=enabled):
        y, eager = compiled(x), module(wanted)
    assert torch.equal(y, eager) and y.dtype == eager.dtype
    y.float().square().sum().backward()
    eager.float().square().sum().backward()
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
def test_a_network_trains_in_bfloat16_no_less_exactly_than_directly(bf16_pays: None) -> None:
    x = image(2, 3, 64, 64)
    wanted = step(network().double(), x.double())

    def off(model: nn.Module) -> float:
        with autocast():
            got = step(model, x)
        return float(sum((got[name] - wanted[name]).square().sum() for name in wanted))

    with autocast():
        assert uses_winograd(network(conv="winograd"), x)
    assert off(network(conv="winograd")) < 1.1 * off(network())


@needs_kernels
@pytest.mark.parametrize("enabled", [False, True], ids=["float32", "autocast"])
def test_recompute_gives_the_same_bits(bf16_pays: None, enabled: bool) -> None:
    model, x = network(conv="winograd"), image(2, 3, 64, 64)
    with autocast(enabled=enabled):
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
