"""The order of the samples in training, which depends on the seed and the epoch alone, and their loaders."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, StackDataset, Subset

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.inference.batches import Batch, loader
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.processes import Group


class EpochBatches(Sampler[list[int]]):
    """The batches of an epoch: a random permutation of the samples, made from the seed and the epoch.

    The sizes of the batches differ by at most one, so that no sample is left out and no batch is a
    small remainder. Each process gets its share of every batch, so that several processes make the
    same steps as one.

    Args:
        count: number of samples.
        batch_size: size of the largest batch, over all processes.
        seed: the seed; the attribute `epoch` is set before each epoch.
        rank, size: the number of this process, and the number of processes.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, size: int = 1):
        self.count, self.seed, self.epoch = count, seed, 0
        self.steps = -(-count // batch_size)
        self.rank, self.size = rank, size

    @property
    def smallest(self) -> int:
        """The number of samples in the smallest share of a batch."""
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
    """A loader of training batches, whose worker processes stay alive between epochs.

    Args:
        dataset: the samples; its `set_epoch` selects their augmentation.
        order: the indices of each batch.
        workers: number of worker processes that read and crop; 0 does so in the training process.
        device: the device that the batches are copied to.
    """
    return loader(dataset, workers, device, batch_sampler=order, persistent_workers=workers > 0)


def watching_loader(
    dataset: PoseDataset, group: Group, config: TrainConfig
) -> DataLoader[Any] | None:
    """A loader of one process's share of the watched samples, for `predict_crops`.

    Its worker processes stay alive between epochs, and start with `iter(...)`, which is called before the
    first step: a process that is forked beside threads that run Python may hang in a lock of CPython.

    Returns:
        None where the process has no share.
    """
    own = Subset(dataset, range(group.rank, len(dataset), group.size))
    if not len(own):
        return None
    size, workers = max(32, config.batch_size), config.workers
    return loader(
        StackDataset(own), workers, group.device, batch_size=size, persistent_workers=workers > 0
    )
