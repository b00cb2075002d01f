"""Converted models on several processes give the results of the same models without conversion."""

import pytest
import torch
from ranks import run
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from softgate_ext import convert
from softgate_ext.compiler import Report, dynamo

C = 160  # of two convolutions with 0.9 MB each, so that DDP has several buckets


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(C)
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.conv(F.relu(self.bn1(x)))
        return y + F.relu(self.bn2(y))


def blocks() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, C, 1), Block(), Block(), Block())


def data_parallel(model: nn.Module, converts: bool) -> nn.Module:
    """Dynamo cuts the graph at DDP's buckets."""
    return DistributedDataParallel(convert(model) if converts else model, bucket_cap_mb=1)


def data_parallel_converted(model: nn.Module, converts: bool) -> nn.Module:
    model = DistributedDataParallel(model, bucket_cap_mb=1)
    return convert(model) if converts else model


def sharded(model: nn.Module, converts: bool) -> nn.Module:
    mesh = init_device_mesh("cpu", (2,))
    for block in model[1:]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return convert(model) if converts else model


def sharded_by_block(model: nn.Module, converts: bool) -> nn.Module:
    for block in model[1:] if converts else ():
        convert(block)
    return sharded(model, False)


def _full(t: Tensor) -> Tensor:
    return t.full_tensor() if hasattr(t, "full_tensor") else t


def on_rank(rank, wrap):
    report, rewrite = Report(), dynamo.rewrite
    dynamo.rewrite = lambda graph, _: rewrite(graph, report)
    pair = [wrap(blocks(), converts) for converts in (False, True)]
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in pair]
    images = torch.Generator().manual_seed(rank)
    for _ in range(2):
        x = torch.randn(2, 3, 4, 4, generator=images)
        outs = [model(x) for model in pair]
        torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-4)
        for out, model, optimizer in zip(outs, pair, optimizers, strict=True):
            out.square().mean().backward()
            optimizer.step()
            model.zero_grad()
    for a, b in zip(*(model.parameters() for model in pair), strict=True):
        torch.testing.assert_close(_full(a), _full(b), rtol=1e-4, atol=1e-4)
    for a, b in zip(*(model.buffers() for model in pair), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    return len(report.fused)


WAYS = [data_parallel, data_parallel_converted, sharded, sharded_by_block]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WAYS, ids=lambda wrap: wrap.__name__)
def test_equals_what_is_not_converted(wrap, tmp_path):
    assert min(run(on_rank, 2, tmp_path, wrap)) >= 2
