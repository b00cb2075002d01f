"""Data loaders whose worker processes ignore Ctrl-C and end with their parent process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from softgate_ext.errors import InputError
from softgate_ext.inference.interrupts import ctrl_c_waits

Batch = dict[str, Tensor]


T = TypeVar("T")


def loader(
    dataset: Dataset[T], workers: int, device: torch.device, **options: Any
) -> DataLoader[T]:
    """A DataLoader whose worker processes ignore Ctrl-C and end with this process.

    Args:
        dataset: the dataset.
        workers: number of worker processes; 0 loads in this process.
        device: the device that the batches are copied to.
        options: further arguments of DataLoader.

    Raises:
        InputError: the system's limit of open files is too low for the workers.
    """
    check_open_files(workers)
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=begin_worker,
        # An iterator draws a number at its start. It must not change the global random state, or a
        # resumed training would differ.
        generator=torch.Generator(),
        **options,
    )


def check_open_files(workers: int, loaders: int = 1) -> None:
    """Checks the limit of open files, because worker processes hang when they reach it.

    Each worker takes about five files, in this process and in its own: pipes and shared memory.

    Args:
        workers: number of worker processes of each loader.
        loaders: number of loaders that exist at the same time.

    Raises:
        InputError: the limit may be too low.
    """
    if not workers or os.name == "nt":  # Windows has no such limit
        return
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return
    needed, left = loaders * 6 * (workers + 1), most - len(os.listdir("/dev/fd"))
    if left < needed:
        raise InputError(
            f"workers: got {workers}, which may open {needed} files, where {left} more are allowed; "
            "takes fewer, or a higher `ulimit -n`"
        )


def batches(loader: DataLoader[T]) -> Iterator[T]:
    """The batches of `loader`, as from `in_one_sentence`. Ctrl-C takes effect between two batches."""
    with ctrl_c_waits() as interrupted:
        for batch in in_one_sentence(loader):
            yield batch
            if interrupted():
                raise KeyboardInterrupt


def in_one_sentence(loader: DataLoader[T]) -> Iterator[T]:
    """The batches of `loader`; an InputError of a worker process is raised with its own message.

    PyTorch raises a worker's exception with the whole traceback as the message. The last line of it
    is the type and the original message.
    """
    try:
        yield from loader
    except InputError as error:
        name = f"{InputError.__module__}.{InputError.__qualname__}"
        raise InputError(str(error).strip().splitlines()[-1].removeprefix(f"{name}: ")) from None


def begin_worker(worker: int) -> None:
    """Initialises a worker process: it ignores Ctrl-C, and ends when its parent ends.

    A terminal sends Ctrl-C to both, and the parent handles it. PyTorch's own check of the parent takes
    seconds and waits until the current image is read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(
            target=_end_with, args=(parent,), name="end with parent", daemon=True
        ).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # sys.exit would wait for other threads, which may wait for the parent
