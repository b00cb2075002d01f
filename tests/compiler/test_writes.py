"""The rewriting sees every way in which an operation can write into its inputs."""

import pytest
import torch
from comparison import Block, check
from torch import Tensor
from torch.nn import functional as F

# Each writes into y, which the norm reads; x and w are other tensors of its size.
WRITERS = {
    "out": lambda y, w, x: torch.mul(x, w, out=y),
    "one of several outs": lambda y, w, x: torch.sort(x, 1, out=(y, torch.empty_like(y).long())),
    "a list": lambda y, w, x: torch._foreach_copy_([w, y], [x, x]),
    "an operator as a method": lambda y, w, x: y.__imul__(2),
    "an operator of the class": lambda y, w, x: Tensor.__iadd__(y, w),
    "inplace by position": lambda y, w, x: F.leaky_relu(y, 0.1, True),
    "statistics by name": lambda y, w, x: F.batch_norm(
        running_mean=y[0, :, 0, 0], running_var=y[0, :, 1, 1], input=x, training=True
    ),
    "another norm": lambda y, w, x: torch.native_batch_norm(
        x, None, None, y[0, :, 0, 0], y[0, :, 1, 1], True, 0.5, 1e-5
    ),
    "an embedding": lambda y, w, x: F.embedding(torch.arange(3), y.flatten(0, 2), max_norm=0.01),
}


class Writes(Block):
    """Writes into a sum before its norm, where no gradient asks whether it was written."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y, w = x + self.conv1(x), self.conv2(x)
            self.write(y, w, x)
            z = F.relu(self.bn1(y))
        return z + x


@pytest.mark.parametrize("name", WRITERS)
def test_every_way_to_write_is_seen(name):
    check(Writes(WRITERS[name]).double())
