"""How fast a training loads its crops, and the report of the time that it waits for them."""

import os
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.loader import IMAGE_SIZE, frames
from softgate_ext.data.augment import Augmentation
from softgate_ext.data.crops import CropCache, CropGeometry, write_crops
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.order import EpochBatches, training_loader
from softgate_ext.training.trainer import train

CORES = 2
PASSES = 6


def busy(cores: set[int]) -> float:
    """Seconds that these processors have worked since the machine started, for anybody."""
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _, _, irq, softirq, *rest = map(int, ticks)
            total += user + nice + system + irq + softirq + sum(rest[:1])  # and stolen
    return total / os.sysconf("SC_CLK_TCK")


def own() -> float:
    """Seconds that this process and its children that have ended have worked."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def undisturbed(work: Callable[[], None], cores: set[int]) -> float:
    """Seconds that `work` takes on these processors, less what other programs took of them."""
    start, busy_before, own_before = time.monotonic(), busy(cores), own()
    work()
    ours = own() - own_before
    others = max(0.0, busy(cores) - busy_before - ours)
    return max(time.monotonic() - start - others / len(cores), ours / len(cores))


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < CORES,
    reason="needs two processors, and to be kept on them",
)
def test_two_cores_deliver_400_crops_a_second(tmp_path: Path) -> None:
    """Of 256 x 256 from the cache, augmented, by the loader of a training, its start included;
    the best of some rounds, since a processor that others use is slower at our own work too."""
    pictures = frames(tmp_path, 64)
    people = pictures.subset(np.arange(3 * len(pictures)) % len(pictures))
    augment = Augmentation()
    (tmp_path / "kept").mkdir()
    write_crops(tmp_path / "kept", people, CropGeometry.of(IMAGE_SIZE, augment))
    dataset = PoseDataset(people, IMAGE_SIZE, augment, crops=CropCache(tmp_path / "kept"))

    def load() -> None:
        order = EpochBatches(len(people), 16, seed=0)
        loader = training_loader(dataset, order, CORES, torch.device("cpu"))
        for epoch in range(PASSES):
            dataset.set_epoch(epoch)
            order.epoch = epoch
            assert sum(len(batch["image"]) for batch in loader) == len(people)

    allowed = os.sched_getaffinity(0)
    cores = set(sorted(allowed)[-CORES:])
    threads = cv2.getNumThreads()
    os.sched_setaffinity(0, cores)
    rates: list[float] = []
    try:
        load()  # so that the crops lie in memory
        while len(rates) < 6 and max(rates, default=0) < 400:
            rates.append(PASSES * len(people) / undisturbed(load, cores))
    finally:
        os.sched_setaffinity(0, allowed)
        cv2.setNumThreads(threads)
    assert max(rates) >= 400, rates


def test_a_training_says_how_long_it_waits(
    tiny: Callable[..., TrainConfig],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the log and in the line of the epoch; four people a step, 40 ms each."""
    genuine = PoseDataset.__getitem__

    def slow(dataset: PoseDataset, index: int) -> dict[str, torch.Tensor]:
        time.sleep(0.04)
        return genuine(dataset, index)

    monkeypatch.setattr(PoseDataset, "__getitem__", slow)
    (entry,) = train(tiny(epochs=1))
    assert 0.16 <= entry["wait_per_step"] < 1
    (printed,) = re.findall(r"waits ([\d.]+) ms/step", capsys.readouterr().out)
    assert float(printed) == pytest.approx(1000 * entry["wait_per_step"], abs=0.06)
