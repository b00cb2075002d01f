"""Random programs that share memory and write in place, to test the rewriting of graphs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

C = 4
Step = tuple[str, int, int, int]


class Program(nn.Module):
    """Straight-line code over a few tensors of (N, 4, H, W).

    Args:
        steps: name of a step of `STEPS`, the two places that it reads, and the place that its
            result is known by from then on.
    """

    def __init__(self, steps: list[Step]):
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.slim = nn.Conv2d(C, C // 2, 1)
        self.point = nn.ModuleList(nn.Conv2d(C, C, 1) for _ in range(6))
        self.norms = nn.ModuleList(nn.BatchNorm2d(C) for _ in steps)
        self.gate = nn.Parameter(torch.randn(1, C, 1, 1))
        self.alpha = nn.Parameter(torch.randn(C))
        self.relu = nn.ReLU()
        self.relu_ = nn.ReLU(inplace=True)
        self.same = nn.Identity()
        self.drop = nn.Dropout(0.0)
        self.up = nn.Upsample(scale_factor=2)
        self.down = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        values = [x, self.conv(x), self.conv(x)]
        for i, (name, a, b, to) in enumerate(self.steps):
            result = STEPS[name](self, values[a], values[b], i)
            if to == len(values):
                values.append(result)
            else:
                values[to] = result
        return values


def _iadd(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    a += b
    return a


def _imul(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    a *= 1.5
    return a


def _written_cat(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    left = m.slim(a)
    both = torch.cat([left, m.slim(b)], 1)
    left.mul_(2)
    return a + both


def _written_low(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    low = m.down(b)
    high = m.up(low)
    low.mul_(2)
    return torch.add(a, high)


def _statistics(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    m.norms[0].running_mean.mul_(0.5)
    return a * m.norms[0].running_var.view(1, -1, 1, 1)


def _weight(m: Program, a: Tensor, b: Tensor, i: int) -> Tensor:
    m.norms[0].weight.data.mul_(1.5)
    return a * 2


STEPS: dict[str, Callable[[Program, Tensor, Tensor, int], Tensor]] = {
    "add": lambda m, a, b, i: a + b,
    "torch.add": lambda m, a, b, i: torch.add(a, b, alpha=1 + i % 2),
    "iadd": _iadd,
    "add_": lambda m, a, b, i: a.add_(b),
    "imul": _imul,
    "mul_": lambda m, a, b, i: a.mul_(0.5),
    "out": lambda m, a, b, i: torch.mul(b, 0.5, out=a),
    "relu_": lambda m, a, b, i: F.relu(a, inplace=True),
    "relu_ by place": lambda m, a, b, i: F.relu(a, True),
    "ReLU_": lambda m, a, b, i: m.relu_(a),
    "relu": lambda m, a, b, i: F.relu(a),
    "norm": lambda m, a, b, i: m.norms[i](a),
    "norm, ReLU": lambda m, a, b, i: m.relu(m.norms[i](a)),
    "norm, ReLU_": lambda m, a, b, i: m.relu_(m.norms[i](a)),
    "add, norm, relu": lambda m, a, b, i: F.relu(m.norms[i](a + b)),
    "scale": lambda m, a, b, i: a * m.gate,
    "scale by view": lambda m, a, b, i: m.alpha.view(1, -1, 1, 1) * a + b,
    "cat": lambda m, a, b, i: a + torch.cat([m.slim(a), m.slim(b)], 1),
    "cat, then written": _written_cat,
    "up, then written": _written_low,
    "up": lambda m, a, b, i: a + m.up(m.down(b)),
    "merge": lambda m, a, b, i: m.up(m.down(a)) + m.gate * b,
    "conv": lambda m, a, b, i: m.conv(a),
    "point": lambda m, a, b, i: m.point[i % 6](a),
    "two convs": lambda m, a, b, i: m.point[0](a) + m.point[1](m.point[2](b)),
    "norm 0, ReLU": lambda m, a, b, i: F.relu(m.norms[0](a)),
    "statistics": _statistics,
    "weight": _weight,
    "same": lambda m, a, b, i: m.same(a),
    "drop": lambda m, a, b, i: m.drop(a),
    "part": lambda m, a, b, i: a[:],
    "view": lambda m, a, b, i: a.view(a.shape),
    "permuted": lambda m, a, b, i: a.permute(0, 1, 3, 2),
    "narrow": lambda m, a, b, i: torch.cat([a.narrow(1, 0, 2), b[:, 2:]], 1),
    "chunk": lambda m, a, b, i: torch.cat([a.chunk(2, 1)[0], b.chunk(2, 1)[1].mul_(0.9)], 1),
    "contiguous": lambda m, a, b, i: a.contiguous(),
    "detached": lambda m, a, b, i: a.detach(),
}


def random_program(seed: int, length: int = 12) -> Program:
    """A program of `length` steps, the same for the same seed."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    names, steps, count = list(STEPS), [], 3
    for _ in range(length):
        a, b = (int(v) for v in random.integers(0, count, 2))
        to = int(random.integers(1, count + 1))
        count += to == count
        steps.append((names[random.integers(len(names))], a, b, to))
    program = Program(steps).double()
    for norm in program.norms:
        for value in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(value)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return program


def outcome(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What a call returns and leaves behind: results, the input, buffers."""
    x = x.clone()
    with torch.no_grad():
        results = model(x)
    return [*(r.clone() for r in results), x, *(b.clone() for b in model.buffers())]
