"""The processes that train one network, as `torchrun` starts them, and how they fail together."""

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
    """The processes of a training, which may be one. All processes must call each method.

    Attributes:
        device: the device of this process.
        rank: the number of this process; process 0 writes files and prints.
        size: the number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, with the same bits in all of them."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all processes by rank; a value can be anything that pickle takes."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that fails in all processes if it fails in one.

        The processes must not communicate inside it.

        Raises:
            InputError: in the first process whose block raised it.
            Elsewhere: in all other processes.
        """
        error: InputError | None = None
        try:
            yield
        except InputError as caught:
            error = caught
        failed = [rank for rank, bad in enumerate(self.gather(error is not None)) if bad]
        if failed:
            # The message appears once, although all processes may have found the same fault.
            raise error if error is not None and failed[0] == self.rank else Elsewhere()

    def from_first(self, make: Callable[[], T]) -> T:
        """Calls `make` in the first process and returns its result in all processes."""
        values: list[Any] = [None]
        with self.together():
            if self.leads:
                values = [make()]
        if self.size > 1:
            dist.broadcast_object_list(values)
        result: T = values[0]
        return result

    def refuse(self, sentence: str) -> InputError:
        """The error to raise for a fault that all processes find; only the first prints its text."""
        return InputError(sentence) if self.leads else Elsewhere()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Joins the processes that `torchrun` started. Without `torchrun` there is one process.

    Tensors on CPUs are exchanged by gloo, tensors on GPUs by nccl.

    Args:
        device: as in `resolve_device`; `auto` and `cuda` give each process a GPU of its own.

    Raises:
        InputError: there are fewer GPUs than processes, or one GPU was named for all of them.
        Elsewhere: another process found the fault, or failed within the block.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Group(resolve_device(device))
        return
    rank = int(os.environ["RANK"])
    try:
        own = _own_device(device, int(os.environ.get("LOCAL_RANK", rank)))
    except InputError:  # all processes find the same fault
        if rank == 0:
            raise
        raise Elsewhere from None
    if own.type == "cuda":
        torch.cuda.set_device(own)
    # Objects and flags on the host are exchanged by gloo beside nccl, so that no GPU waits for them.
    _import_defaults()
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    try:
        yield Group(own, rank, size)
    except RuntimeError as error:
        if _is_lost_connection(error):
            raise Elsewhere from error
        raise
    # This is skipped after a failure, because the other processes may be in a collective, and
    # destroying the group would wait for them. gloo's threads end with the last reference to the
    # group, which reference cycles of the training may still hold. A thread that outlives the
    # interpreter may free a tensor then, which aborts the process.
    gc.collect()
    dist.destroy_process_group()


def _import_defaults() -> None:
    """Imports a module whose default arguments hold the process group that exists at its import.

    Imported before the group is made, it holds no group, and the group can be freed at the end.
    """
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
    """Whether a collective failed because a process has ended; gloo raises no type of its own."""
    return isinstance(error, dist.DistError) or bool(re.search(r"\bgloo\b", str(error)))
