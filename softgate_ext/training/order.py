"""The order of the samples in training, which depends on the seed and the epoch alone."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.inference.batches import Batch, loader


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
