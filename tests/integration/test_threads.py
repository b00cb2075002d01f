"""Training steps whose bits do not depend on the number of threads."""

import pytest
import torch
from torch import nn

from softgate_ext.nn import SoftGatedBlock
from softgate_ext.nn.convolution import use_conv
from softgate_ext.ops.backend import unavailable

WHY_NOT = unavailable("cpu")


def trained(threads: int) -> dict[str, torch.Tensor]:
    """The state after ten steps of blocks whose convolutions are all of this package."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        blocks = nn.Sequential(*(SoftGatedBlock(32, 32) for _ in range(2)))
        use_conv(blocks.to(memory_format=torch.channels_last), "winograd")  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(blocks.parameters(), 0.01)
        for _ in range(10):
            x = torch.randn(4, 32, 33, 40).contiguous(memory_format=torch.channels_last)
            loss = (blocks(x) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return blocks.state_dict()
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(WHY_NOT is not None, reason=f"needs the compiled kernels: {WHY_NOT}")
def test_ten_steps() -> None:
    alone = trained(1)
    assert all(torch.isfinite(tensor).all() for tensor in alone.values())
    for threads in (2, 4):
        assert all(torch.equal(t, alone[name]) for name, t in trained(threads).items()), threads
