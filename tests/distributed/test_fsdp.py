"""The network under `fully_shard` (FSDP2), which frees the parameters of a block when it returns."""

import pytest
import torch
from ranks import run
from test_sync import images, network, step
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

# What is sharded by itself beside the whole; inner modules first.
UNITS = [("SoftGatedBlock",), ("Hourglass", "Stem", "Stack")]


def model() -> nn.Module:
    """Frozen statistics: those of half a batch would differ from those of the whole."""
    return network(stacks=2).eval()


def on_rank(rank, units):
    sharded = model()
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("data",))
    for unit in units:
        for module in sharded.modules():
            if type(module).__name__ == unit:
                fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    optimizer = torch.optim.SGD(sharded.parameters(), 0.1)
    part = images(4)[2 * rank : 2 * rank + 2]
    grads = {name: g.full_tensor() for name, g in step(sharded, part).items()}
    optimizer.step()
    weights = {name: p.full_tensor().detach() for name, p in sharded.named_parameters()}
    return grads, weights


@pytest.mark.slow
@pytest.mark.parametrize("units", UNITS, ids="+".join)
def test_equals_one_process(units, tmp_path):
    expected = model()
    optimizer = torch.optim.SGD(expected.parameters(), 0.1)
    wanted = step(expected, images(4))
    optimizer.step()
    for grads, weights in run(on_rank, 2, tmp_path, units):
        torch.testing.assert_close(grads, wanted)
        for name, p in expected.named_parameters():
            torch.testing.assert_close(weights[name], p.detach(), msg=name)
