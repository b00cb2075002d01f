"""`softgate data cache`: kept crops, and what they save."""

import time

from rich.console import Console

from softgate_ext.commands.data_config import DataCacheConfig
from softgate_ext.data.augment import Augmentation
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import recognise
from softgate_ext.data.outside import outside_as_told
from softgate_ext.files.console import say
from softgate_ext.files.counted import counted
from softgate_ext.inference.batches import batches
from softgate_ext.inference.device import resolve_device
from softgate_ext.ranges import check_ranges
from softgate_ext.training.crop_cache import cached_crops
from softgate_ext.training.order import EpochBatches, training_loader


@outside_as_told
def cache(config: DataCacheConfig, console: Console | None = None) -> dict[str, float]:
    """Makes the crops of the training people and measures; returns crops per second.

    Raises:
        InputError: The dataset or a value cannot be used, or the crops cannot be written.
    """
    console = console or Console()
    check_ranges(config)
    augment = Augmentation(config.scale, config.rotation)
    source = recognise(config.path, train_folder=config.train_folder)
    people = source.read("train" if "train" in source.splits else "test")
    for note in people.notes:
        say(console, note)
    start = time.monotonic()
    crops = cached_crops(people, config.image_size, augment, config.cache, console)
    say(
        console,
        f"{crops.folder}: {counted(len(crops), 'crop[s]')}, {len(crops.pixels) / 2**20:.0f} MiB, ready after "
        f"{time.monotonic() - start:.1f} s",
    )
    rates = {}
    for name, kept in (("crops", crops), ("pictures", None)):
        dataset = PoseDataset(people, config.image_size, augment, crops=kept)
        rates[name] = loading_rate(dataset, config.batch_size, config.workers, config.seconds)
        say(
            console,
            f"from the {name}: {rates[name]:.0f} crops of {config.image_size} x "
            f"{config.image_size} a second, {counted(config.workers, 'worker[s]')}",
        )
    return rates


def loading_rate(dataset: PoseDataset, batch_size: int, workers: int, seconds: float) -> float:
    """Crops per second that a training's loader delivers, once its workers run."""
    order = EpochBatches(len(dataset), batch_size, seed=0)
    loader = training_loader(dataset, order, workers, resolve_device("auto"))
    delivered, epoch, start = 0, 0, 0.0
    while True:
        dataset.set_epoch(epoch)
        order.epoch = epoch
        for number, batch in enumerate(batches(loader)):
            now = time.monotonic()
            if epoch == 0 and number <= workers:  # what was made while the workers started
                delivered, start = 0, now
                continue
            delivered += len(batch["image"])
            if now - start >= seconds:
                return delivered / (now - start)
        epoch += 1
