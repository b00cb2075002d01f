"""How many chains are found in small networks as people write them, with the same results."""

import pytest
import torch
from comparison import Fusions, check, modes
from torch import Tensor, nn
from torch.nn import functional as F

W = 8


def conv(inputs: int, outputs: int = W, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)


class PreActivation(nn.Module):
    """ResNet v2: norm, ReLU, convolution; the sums are read by the next norm and the next sum."""

    def __init__(self, blocks: int = 2):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(W) for _ in range(2 * blocks + 1))
        self.convs = nn.ModuleList(conv(W) for _ in range(2 * blocks))
        self.stem = conv(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(0, len(self.convs), 2):
            y = self.convs[i](F.relu(self.norms[i](x)))
            x = x + self.convs[i + 1](F.relu(self.norms[i + 1](y)))
        return F.relu(self.norms[-1](x))


class PostActivation(nn.Module):
    """ResNet v1: the second norm of a block has the sum after it, which no op has."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3), nn.BatchNorm2d(W)
        self.conv2, self.bn2 = conv(W), nn.BatchNorm2d(W)
        self.conv3, self.bn3 = conv(W), nn.BatchNorm2d(W)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(identity)))))
        out += identity
        return self.relu(out)


class Dense(nn.Module):
    """DenseNet: each layer reads the concatenation of all before it."""

    def __init__(self, layers: int = 3, growth: int = 4):
        super().__init__()
        widths = [W + i * growth for i in range(layers + 1)]
        self.stem = conv(3)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, widths))
        self.convs = nn.ModuleList(conv(width, growth) for width in widths[:-1])

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.convs, strict=False):
            features.append(layer(F.relu(norm(torch.cat(features, 1)))))
        return F.relu(self.norms[-1](torch.cat(features, 1)))


class UNet(nn.Module):
    """Two levels, of which one adds its skip and one concatenates it; the outer one is gated."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.low = conv(3), conv(W), conv(W)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, (W, W, W, 2 * W)))
        self.gate = nn.Parameter(torch.randn(W, 1, 1))
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        outer = F.relu(self.norms[0](self.stem(x)))
        inner = F.relu(self.norms[1](self.inner(F.max_pool2d(outer, 2))))
        low = self.low(F.max_pool2d(inner, 2))
        inner = F.relu(self.norms[2](inner + self.up(low)))
        high = F.interpolate(inner, size=outer.shape[2:])
        return F.relu(self.norms[3](torch.cat([outer * self.gate, high], 1)))


SUMS = {
    PreActivation: ["add, BatchNorm, ReLU"] * 2 + ["BatchNorm, ReLU"] * 3,
    PostActivation: ["BatchNorm, ReLU"] * 2,
    Dense: ["BatchNorm, ReLU"] * 4,
    UNet: [
        "2x upsampling, add, BatchNorm, ReLU",
        "2x upsampling, scale, concatenation, BatchNorm, ReLU",
        *["BatchNorm, ReLU"] * 2,
    ],
}


@pytest.mark.parametrize("network", SUMS)
@modes
def test_chains(network, modes, fusions: Fusions):
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    check(network().double(), x, modes=modes, exact=1e-9)
    expected = sorted(SUMS[network] * len(modes))
    assert sorted(c.chain for c in fusions.report.fused) == expected, str(fusions.report)
