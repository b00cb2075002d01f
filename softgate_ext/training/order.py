"""The order in which people are trained on, which repeats."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.inference.batches import Batch, loader


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
