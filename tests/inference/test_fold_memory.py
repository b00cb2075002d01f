"""The memory that a forward pass of a folded network allocates, and how long it is kept."""

import weakref
from typing import Any

import pytest
import torch
from fold_networks import NETWORKS, build, network
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from softgate_ext import fold

# What moves an activation and computes nothing.
MOVES = ("cat", "clone", "copy", "contiguous", "to_copy", "upsample", "stack", "repeat")


class Log(TorchDispatchMode):
    """Every buffer that an op allocates: its bytes, when it was born, last read and freed."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Any] = []
        self.bytes: list[int] = []
        self.born: list[int] = []
        self.read: list[int] = []
        self.written: list[int] = []
        self.live: dict[int, int] = {}  # storage to buffer
        self.peak = self.now = 0

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        step = len(self.ops)
        self.ops.append(op)
        out = op(*args, **(kwargs or {}))
        for t in tree_leaves((args, kwargs)):
            if isinstance(t, Tensor) and (buffer := self.live.get(place(t))) is not None:
                self.read[buffer] = step
        for t in tree_leaves(out):
            if not isinstance(t, Tensor) or not t.numel():
                continue
            if place(t) not in self.live:
                self.allocate(t, step)
            elif not op.is_view:
                self.written[self.live[place(t)]] += 1
        return out

    def allocate(self, t: Tensor, step: int) -> None:
        size, storage = t.untyped_storage().nbytes(), place(t)
        self.live[storage] = len(self.bytes)
        self.bytes.append(size)
        self.born.append(step)
        self.read.append(step)
        self.written.append(1)
        self.now += size
        self.peak = max(self.peak, self.now)

        def free() -> None:
            self.now -= size
            del self.live[storage]

        weakref.finalize(t, free)

    def shortest(self, kept: set[int]) -> int:
        """The peak of bytes if each buffer, but the results, were freed after its last reader."""
        return max(
            sum(
                size
                for i, size in enumerate(self.bytes)
                if self.born[i] <= step and (step <= self.read[i] or i in kept)
            )
            for step in range(len(self.ops))
        )


def place(t: Tensor) -> int:
    return t.untyped_storage()._cdata


def logged(model: nn.Module, x: Tensor) -> tuple[Log, set[int]]:
    with torch.no_grad(), Log() as log:
        out = model(x)
        results = {log.live[place(t)] for t in tree_leaves(out)}
    return log, results


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_activation_is_written_once(name, channels_last):
    model = build(name)
    x = torch.rand(2, 3, 32, 32)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    log, results = logged(fold(model, None, channels_last), x)
    names = [op.name() for op in log.ops]
    assert not [n for n in names if any(move in n for move in MOVES)]
    assert not [op for op in log.ops if op._schema.is_mutable]
    assert set(log.written) == {1}
    unread = [i for i, step in enumerate(log.read) if step == log.born[i] and i not in results]
    assert not unread, [names[log.born[i]] for i in unread]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_is_what_a_release_after_the_last_reader_gives(name):
    model, x = build(name), torch.rand(2, 3, 32, 32)
    log, results = logged(fold(model), x)
    assert log.peak == log.shortest(results)
    assert sum(log.bytes) < sum(logged(model, x)[0].bytes)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_half_precision_takes_half_the_memory(options):
    # Images are normalised in float32, which is less than the stem takes but in narrower networks.
    model, x = network(width=32, **options), torch.rand(2, 3, 32, 32)
    whole, _ = logged(fold(model), x)
    half, _ = logged(fold(model, torch.bfloat16, channels_last=True), x)
    assert half.peak <= 0.5 * whole.peak
