"""Models for the tests of the compiler, and the comparison of their results."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

from softgate_ext.compiler import Report, convert, dynamo

C = 6
X = torch.randn(2, C, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Block(nn.Module):
    """A pre-activation residual block of two convolutions."""

    def __init__(self, channels: int = C):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def blocks(count: int = 3) -> nn.Sequential:
    """So many of them, with 2 * count chains."""
    return nn.Sequential(*(Block() for _ in range(count))).double()


class Fusions:
    """Counts what the backend fuses and the graphs that it gets, while a test runs.

    Use by the fixture of that name.
    """

    def __init__(self, monkeypatch: Any):
        self.report = Report()
        rewrite = dynamo.rewrite

        def counted(graph: GraphModule, _: Report) -> None:
            self.report.graphs += 1
            rewrite(graph, self.report)

        monkeypatch.setattr(dynamo, "rewrite", counted)

    @property
    def count(self) -> int:
        return len(self.report.fused)

    @property
    def graphs(self) -> int:
        return self.report.graphs


# Evaluation is traced again, which takes as long.
modes = pytest.mark.parametrize(
    "modes",
    [(True,), pytest.param((False, True), marks=pytest.mark.slow)],
    ids=["training", "evaluation, training"],
)


def compare(
    original: nn.Module,
    converted: nn.Module,
    *inputs: Any,
    modes: tuple[bool, ...] = (True,),
    exact: float = 1e-11,
    **options: Any,
) -> None:
    """Outputs, gradients and buffers, with `training` as the modes say."""
    for mode in modes:
        results = []
        for model in (original.train(mode), converted.train(mode)):
            given = [t.clone().requires_grad_() for t in inputs]
            torch.manual_seed(1)
            out = model(*given, **options)
            out.square().sum().backward()
            grads = [t.grad for t in (*given, *model.parameters()) if t.grad is not None]
            results.append([out, *grads, *model.buffers()])
            model.zero_grad()
        assert len(results[0]) == len(results[1])
        for mine, theirs in zip(*results, strict=True):
            # Of a gradient's largest value: norms over a few pixels multiply every rounding.
            largest = float(mine.detach().abs().max()) if mine.numel() else 0.0
            torch.testing.assert_close(theirs, mine, rtol=exact, atol=exact * max(1.0, largest))


def check(model: nn.Module, *inputs: Any, **options: Any) -> nn.Module:
    """Converts a model and compares it with what it was; returns it."""
    original = copy.deepcopy(model)
    converted = convert(model)
    compare(original, converted, *(inputs or [X]), **options)
    return converted
