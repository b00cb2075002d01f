"""Models for the tests of Winograd's convolutions, and a fixture that counts the converted ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparison import Block
from torch import Tensor, nn
from torch.nn import functional as F

from softgate_ext.compiler import dynamo
from softgate_ext.compiler.packing import Packing
from softgate_ext.ops.backend import unavailable

KERNEL = torch.ops.softgate.winograd_conv3x3
needs_kernels = pytest.mark.skipif(
    unavailable("cpu") is not None, reason=f"needs the compiled kernels: {unavailable('cpu')}"
)


class PreActivation(nn.Module):
    """A residual network as people write it: a stem, blocks of two widths, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1, self.block2 = Block(16), Block(16)
        self.down = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.block3 = Block(24)
        self.norm = nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.block1(self.stem(x)))
        x = F.relu(self.norm(self.block3(self.down(x))))
        return self.head(x.mean((2, 3)))


class PostActivation(nn.Module):
    """Norms after convolutions, a ReLU and a sum in place, and a view of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x
        return self.relu(out).view(len(x), -1)


def lived_in(model: nn.Module) -> nn.Module:
    """With the statistics of some training, in evaluation."""
    draw = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value, low, high in (
                (norm.running_mean, -1, 1),
                (norm.running_var, 0.5, 2),
                (norm.weight, -1, 1),
                (norm.bias, -1, 1),
            ):
                if value is not None:
                    nn.init.uniform_(value, low, high, generator=draw)
    return model.eval()


def image(channels: int, *size: int) -> Tensor:
    shape = (2, channels, *(size or (12, 9)))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def agree(got: Tensor, wanted: Tensor) -> None:
    assert got.stride() == wanted.stride() and got.dtype == wanted.dtype
    atol = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(got, wanted, rtol=0, atol=atol)


class Graphs:
    """What becomes of the graphs that Dynamo traced while a test runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.graphs: list[torch.fx.GraphModule] = []
        self.made = 0
        rewrite, made = dynamo.use_winograd, Packing.made

        def seen(graph: torch.fx.GraphModule, report: Any) -> Any:
            self.graphs.append(graph)
            return rewrite(graph, report)

        def counted(one: Packing, inputs: Any) -> Any:
            self.made += not isinstance(inputs[one.weight], torch._subclasses.FakeTensor)
            return made(one, inputs)

        monkeypatch.setattr(dynamo, "use_winograd", seen)
        monkeypatch.setattr(Packing, "made", counted)

    def count(self, *targets: Any) -> int:
        """Steps of the graphs that call one of these."""
        return sum(node.target in targets for graph in self.graphs for node in graph.graph.nodes)

    @property
    def with_norm(self) -> int:
        """Kernels that compute a norm as they load."""
        found = (node for graph in self.graphs for node in graph.graph.nodes)
        return sum(node.target is KERNEL and node.args[2] is not None for node in found)


def one(**options: Any) -> nn.Module:
    return nn.Conv2d(
        **{"in_channels": 4, "out_channels": 8, "kernel_size": 3, "padding": 1, **options}
    )


class Computed(nn.Module):
    """A weight that is made in the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), padding=1)


class Written(nn.Module):
    """A weight that the pass writes behind PyTorch's back, after its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = one()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.conv.weight.data.mul_(1.5)
        return y


class Twice(nn.Module):
    """A norm that a convolution and a sum read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.norm(x))
        return self.conv(z) + z


class Between(Twice):
    """What is normalised is written before the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        z = F.relu(self.norm(x))
        x.mul_(3)
        return self.conv(z) + x


CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "plain": (one, 1, 0),
    "same": (lambda: one(padding="same"), 1, 0),
    "groups": (lambda: one(groups=2, bias=False), 1, 0),
    "norm without weights": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.ReLU(), one()), 1, 1,
    ),
    "norm without ReLU": (lambda: nn.Sequential(nn.BatchNorm2d(4), one()), 1, 0),
    "norm of the batch": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), one()), 0, 0,
    ),
    "norm for two": (Twice, 1, 0),
    "norm of what is written": (Between, 1, 0),
    "computed weight": (Computed, 0, 0),
    "written weight": (Written, 0, 0),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(one()), 0, 0),
    "stride": (lambda: one(stride=2), 0, 0),
    "dilation": (lambda: one(dilation=2, padding=2), 0, 0),
    "no border": (lambda: one(padding=0), 0, 0),
    "reflected border": (lambda: one(padding_mode="reflect"), 0, 0),
    "1x1": (lambda: one(kernel_size=1, padding=1), 0, 0),
    "float64": (lambda: one(dtype=torch.float64), 0, 0),
    "frozen": (lambda: one().requires_grad_(False), 1, 0),
}  # fmt: skip
