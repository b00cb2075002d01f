"""Batches of people, in an order that repeats."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributed import is_torchelastic_launched
from torch.utils.data import DataLoader, Dataset, Sampler

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.images import read_image
from softgate_ext.data.join import join, to_skeleton
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.engine.config import TrainConfig
from softgate_ext.errors import InputError

Batch = dict[str, Tensor]
T = TypeVar("T")


class EpochBatches(Sampler[list[int]]):
    """A permutation of the people that follows from the seed and the epoch alone, in batches.

    The sizes of the batches differ by one at most: nobody is left out, and no step is taken on a
    remnant. Each process gets its share of every batch, so that several make the steps of one.

    Args:
        count: number of people.
        batch_size: size of the largest batch, over all processes.
        seed: first of the two numbers the order comes from; `epoch` is the other.
        rank, size: number of this process, and of processes.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, size: int = 1):
        self.count, self.seed, self.epoch = count, seed, 0
        self.steps = -(-count // batch_size)
        self.rank, self.size = rank, size

    @property
    def smallest(self) -> int:
        """People in the smallest share of a batch."""
        return self.count // self.steps // self.size

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for batch in np.array_split(order, self.steps):
            yield np.array_split(batch, self.size)[self.rank].tolist()


def training_loader(
    dataset: PoseDataset, order: EpochBatches, workers: int, device: torch.device
) -> DataLoader[Batch]:
    """Batches of people in an order that repeats, by processes that stay from epoch to epoch.

    Args:
        dataset: the people; `set_epoch` of it chooses their changes.
        order: which of them make a batch.
        workers: processes that read and crop; 0 for none beside the training itself.
        device: where the batches go.
    """
    return loader(dataset, workers, device, batch_sampler=order, persistent_workers=workers > 0)


def loader(
    dataset: Dataset[T], workers: int, device: torch.device, **options: Any
) -> DataLoader[T]:
    """A DataLoader whose worker processes leave Ctrl-C to this process and end when it does.

    Args:
        dataset: what is loaded.
        workers: processes that load; 0 for none beside this one.
        device: where the batches go.
        options: further arguments of DataLoader.
    """
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=begin_worker,
        generator=torch.Generator(),  # each beginning draws a number, which a resume must not feel
        **options,
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
        sentence = str(error).strip().splitlines()[-1].removeprefix(f"{_name(InputError)}: ")
        raise InputError(sentence) from None


@contextmanager
def ctrl_c_waits() -> Iterator[Callable[[], bool]]:
    """Holds the first Ctrl-C back and says whether it came; the second one interrupts at once.

    Not so under torchrun, which hands the terminal's Ctrl-C on to processes that had it already.
    A KeyboardInterrupt at any odd moment would be lost in a destructor, or printed as a traceback
    by a worker process that has only just begun.
    """
    came = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and not is_torchelastic_launched():
            raise KeyboardInterrupt
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came:
        raise KeyboardInterrupt


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


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def split_people(config: TrainConfig) -> tuple[PoseSet, PoseSet]:
    """The people to train on and the people to watch, with the same joints: those of all sets."""
    _refuse_twice(config)
    train = open_dataset(config.data, "train", argument="data")
    if config.holdout == 0:
        try:
            watched = open_dataset(config.data, "test", argument="data")
        except EmptySplit as error:
            raise InputError(
                f"holdout: got 0, but {error.fault}; takes how many people of the training part to watch "
                "in place of training on them"
            ) from None
    elif config.holdout < len(train):
        kept = len(train) - config.holdout
        train, watched = train.subset(range(kept)), train.subset(range(kept, len(train)))
    else:
        raise InputError(f"holdout: got {config.holdout}; takes fewer than {len(train)} people")
    if 0 < config.watch < len(watched):
        watched = watched.subset(np.linspace(0, len(watched) - 1, config.watch).astype(int))
    train = join([train, *(open_dataset(path, "train", argument="extra") for path in config.extra)])
    return train, to_skeleton(watched, train.skeleton)


def _refuse_twice(config: TrainConfig) -> None:
    """Raises InputError where `extra` names a dataset that is there already.

    Its people would count twice, and those held out of the one would be trained on in the other.
    """
    known = {recognise(config.data, "data").path.resolve()}
    for path in config.extra:
        place = recognise(path, "extra").path.resolve()
        if place in known:
            raise InputError(
                f"extra: got {path}, which data or extra names already; takes other datasets"
            )
        known.add(place)


def check_pictures(paths: Iterable[Path]) -> None:
    """Reads every picture once, since one that is damaged would cost the epoch that comes upon it.

    Raises:
        InputError: a picture is missing or damaged.
    """

    def read(path: Path) -> None:
        read_image(path)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for _ in pool.map(read, dict.fromkeys(paths)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def box_margin(people: PoseSet) -> float:
    """Median of the side of the crop over the longer side of the box around the joints."""
    seen = people.labelled[..., None]
    low = np.where(seen, people.joints, np.inf).min(1)
    high = np.where(seen, people.joints, -np.inf).max(1)
    longer = (high - low).max(1)
    usable = np.isfinite(longer) & (longer > 0)
    if not usable.any():
        raise InputError(
            f"data: nobody of {people.name} has two labelled joints to train on; takes people who "
            "have"
        )
    return round(float(np.median(people.sizes[usable] / longer[usable])), 4)
