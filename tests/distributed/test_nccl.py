"""SyncBatchNorm on GPUs that communicate by NCCL, against one process on the joined batch."""

import pytest
import torch
from ranks import run
from test_sync import agree, batch, block, learn
from torch import nn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


def on_rank(rank: int, sizes: tuple[int, ...], compiled: bool) -> dict:
    torch.backends.cudnn.allow_tf32 = False
    module = nn.SyncBatchNorm.convert_sync_batchnorm(block()).float().cuda()
    part = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    x, dy = (t[part].float().cuda() for t in batch(sum(sizes)))
    call = torch.compile(module, fullgraph=True) if compiled else module
    return to_cpu(learn(module, x, dy, call))


def to_cpu(found):
    if isinstance(found, dict):
        return {name: to_cpu(value) for name, value in found.items()}
    return found.cpu().double() if found.is_floating_point() else found.cpu()


@pytest.mark.parametrize("sizes", [(3, 3), (1, 4), (0, 5)], ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_equals_one_process_on_the_joined_batch(sizes, compiled, tmp_path):
    """float32, as the CUDA kernels have no float64, against float64 on the CPU."""
    parts = run(on_rank, 2, tmp_path, sizes, compiled, backend="nccl")
    agree(parts, learn(block(), *batch(sum(sizes))), rtol=1e-3, atol=1e-3)
