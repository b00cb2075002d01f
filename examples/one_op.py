"""One op by itself: the gated skip with the norm and ReLU behind it, beside the same in plain PyTorch.

python examples/one_op.py
"""

import torch
import torch.nn.functional as F

from softgate_ext.ops import gated_residual_bn_relu

torch.manual_seed(0)
shape = (8, 144, 32, 32)
x, f = (torch.randn(shape, requires_grad=True) for _ in range(2))
alpha = torch.full((144,), 0.5, requires_grad=True)
weight, bias = torch.ones(144), torch.zeros(144)


def fused() -> tuple[torch.Tensor, torch.Tensor]:
    mean, var = torch.zeros(144), torch.ones(144)  # running statistics, which the call updates
    return gated_residual_bn_relu(x, f, alpha, mean, var, weight, bias, training=True)


def plain() -> tuple[torch.Tensor, torch.Tensor]:
    y = alpha.view(1, -1, 1, 1) * x + f
    mean, var = torch.zeros(144), torch.ones(144)
    return y, F.relu(F.batch_norm(y, mean, var, weight, bias, training=True))


gradients = []
for way in (fused, plain):
    y, z = way()
    gradients.append(torch.autograd.grad((y + z).square().mean(), (x, f, alpha)))
    print(
        f"{way.__name__}: z has mean {z.mean():.6f}, {100 * (z > 0).float().mean():.1f} % are open"
    )
for name, mine, theirs in zip(("x", "f", "alpha"), *gradients, strict=True):
    print(
        f"gradient of {name}: they differ by {(mine - theirs).abs().max() / theirs.abs().max():.1e}"
    )
