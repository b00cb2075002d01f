"""Several processes that train one network, as `torchrun` starts them."""

import gc
import importlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from softgate_ext.errors import Elsewhere, InputError
from softgate_ext.files.counted import counted
from softgate_ext.inference.device import resolve_device

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes of a training, one alone included; every method is called by all of them.

    Attributes:
        device: where this process computes.
        rank: number of this process; 0 is the one that writes files and talks.
        size: number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes; the same bits in all of them."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """What each process has, by rank; anything that can be pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that ends for all when one fails; inside it the processes must not communicate.

        Raises:
            InputError: where the block raised it.
            Elsewhere: in the other processes.
        """
        error: InputError | None = None
        try:
            yield
        except InputError as caught:
            error = caught
        failed = [rank for rank, bad in enumerate(self.gather(error is not None)) if bad]
        if failed:
            # One sentence, though all may have found the same fault.
            raise error if error is not None and failed[0] == self.rank else Elsewhere()

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them."""
        values: list[Any] = [None]
        with self.together():
            if self.leads:
                values = [make()]
        if self.size > 1:
            dist.broadcast_object_list(values)
        result: T = values[0]
        return result

    def refuse(self, sentence: str) -> InputError:
        """The error to raise for a fault that all processes see; one of them says it."""
        return InputError(sentence) if self.leads else Elsewhere()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Joins the processes that `torchrun` started; alone where it started none.

    They talk by gloo on CPUs, and by nccl where the tensors are on GPUs. When another process
    fails within the block, this one ends with `Elsewhere`.

    Args:
        device: as in `resolve_device`; `auto` and `cuda` give each process a GPU of its own.

    Raises:
        InputError: there are fewer GPUs than processes, or one was named for all of them.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Group(resolve_device(device))
        return
    rank = int(os.environ["RANK"])
    try:
        own = _own_device(device, int(os.environ.get("LOCAL_RANK", rank)))
    except InputError:  # all find the same fault
        if rank == 0:
            raise
        raise Elsewhere from None
    if own.type == "cuda":
        torch.cuda.set_device(own)
    # Objects and flags of the host travel by gloo beside nccl, so that no GPU waits for them.
    _import_defaults()
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    try:
        yield Group(own, rank, size)
    except RuntimeError as error:
        if _is_lost_connection(error):
            raise Elsewhere from error
        raise
    # Not after a failure: the others may be in a collective, where this would wait for them.
    # What the training left in cycles holds the group; gloo's threads end with the last reference. A
    # thread that lives on may free a tensor while the interpreter ends, which aborts the process.
    gc.collect()
    dist.destroy_process_group()


def _import_defaults() -> None:
    """Imports a module of PyTorch whose functions keep the group of the time of its import for ever."""
    importlib.import_module("torch.distributed.nn.functional")


def _own_device(name: str, local_rank: int) -> torch.device:
    device = resolve_device(name)
    if device.type != "cuda":
        return device
    if device.index is not None:
        raise InputError(f"device: got {name!r} for several processes; takes auto, cpu or cuda")
    processes, devices = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if processes > devices:
        raise InputError(
            f"device: PyTorch sees {counted(devices, 'CUDA device[s]')}, too few for {processes} processes; "
            "start fewer, or take --device cpu"
        )
    return torch.device("cuda", local_rank)


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether a collective failed because a process is gone; gloo has no type for it."""
    return isinstance(error, dist.DistError) or bool(re.search(r"\bgloo\b", str(error)))
