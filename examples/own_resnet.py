"""A pre-activation ResNet by hand, whose blocks end in a gated skip, trained for a few steps.

    python examples/own_resnet.py

The sum that ends a block and the norm and ReLU that open the next one are one pass: a block hands on both.
"""

import torch
from torch import Tensor, nn

from softgate_ext.nn import gated_residual_bn_relu


class Block(nn.Module):
    """Takes (y, z) with z = relu(norm(y)) of its own input, and hands on those of its output."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.alpha = nn.Parameter(torch.ones(channels))  # a gate per channel of the skip
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return gated_residual_bn_relu(y, self.inner(z), self.alpha, self.norm)


class Network(nn.Module):
    def __init__(self, channels: int = 32, blocks: int = 3, classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        y = self.stem(images)
        z = y.relu()
        for block in self.blocks:
            y, z = block(y, z)
        return self.head(z.mean((2, 3)))


torch.manual_seed(0)
network = Network()
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
images, labels = torch.randn(32, 3, 16, 16), torch.randint(10, (32,))
for step in range(15):
    loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 7 == 0:
        print(f"step {step}: loss {loss.item():.3f}")
