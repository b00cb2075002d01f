"""Batches from worker processes, which leave Ctrl-C to their parent and end when it does."""

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
    """A DataLoader whose worker processes leave Ctrl-C to this process and end when it does.

    Args:
        dataset: what is loaded.
        workers: processes that load; 0 for none beside this one.
        device: where the batches go.
        options: further arguments of DataLoader.

    Raises:
        InputError: this process may open too few files for them.
    """
    check_open_files(workers)
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=begin_worker,
        generator=torch.Generator(),  # each beginning draws a number, which a resume must not feel
        **options,
    )


def check_open_files(workers: int, loaders: int = 1) -> None:
    """Looks whether so many more files may be opened as workers take, who hang where they cannot.

    They take about five each, in this process and in theirs: pipes, and memory that is shared.

    Args:
        workers: processes of each loader.
        loaders: how many there are to be at the same time.

    Raises:
        InputError: there may be too few.
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
    """The batches of `loader`, with `in_one_sentence`; Ctrl-C takes effect between two."""
    with ctrl_c_waits() as interrupted:
        for batch in in_one_sentence(loader):
            yield batch
            if interrupted():
                raise KeyboardInterrupt


def in_one_sentence(loader: DataLoader[T]) -> Iterator[T]:
    """The batches of `loader`; an InputError of a worker process keeps its one sentence.

    PyTorch hands on a worker's exception with the whole traceback in its message, whose last line
    is the type and the sentence.
    """
    try:
        yield from loader
    except InputError as error:
        name = f"{InputError.__module__}.{InputError.__qualname__}"
        raise InputError(str(error).strip().splitlines()[-1].removeprefix(f"{name}: ")) from None


def begin_worker(worker: int) -> None:
    """For a worker process: its parent answers Ctrl-C, which a terminal sends to both, and its end
    is the worker's end.

    PyTorch's own check of the parent takes seconds, and waits for a picture that is being read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(
            target=_end_with, args=(parent,), name="end with parent", daemon=True
        ).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # not sys.exit: the other threads may wait for what never comes
