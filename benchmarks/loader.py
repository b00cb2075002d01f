"""Measures crops per second from images and from a crop cache: ``python -m benchmarks.loader [--json FILE]``.

The images are JPEGs of 1280 x 720 pixels, the size of most images of MPII, with people of MPII's sizes.
``softgate data cache PATH --cache DIR`` measures the same on your own dataset.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from softgate_ext.commands.data_cache import loading_rate
from softgate_ext.data.augment import Augmentation
from softgate_ext.data.crops import CropCache, CropGeometry, write_crops
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.poseset import PoseSet
from softgate_ext.files.atomic import write_json
from softgate_ext.pose.skeleton import MPII

WIDTH, HEIGHT, IMAGE_SIZE = 1280, 720, 256


def frames(folder: Path, count: int) -> PoseSet:
    """`count` images of noise with one person each. The crops have sides of 300 to 900 pixels."""
    random = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for path in paths:
        coarse = random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    labelled = np.ones((count, len(MPII)), bool)
    low, high = np.array([0, 0]), np.array([WIDTH, HEIGHT])
    return PoseSet(
        "frames", MPII, paths,
        random.uniform(low, high, (count, len(MPII), 2)).astype(np.float32), labelled, labelled,
        random.uniform(0.25 * high, 0.75 * high, (count, 2)).astype(np.float32),
        random.uniform(300, 900, count).astype(np.float32),
    )  # fmt: skip


def processor_ms(dataset: PoseDataset) -> float:
    """CPU milliseconds of one crop, in this process and without batches."""
    cv2.setNumThreads(0)
    dataset[0]
    start = time.process_time()
    for index in range(len(dataset)):
        dataset[index]
    return 1000 * (time.process_time() - start) / len(dataset)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.loader", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--frames", type=int, default=64)
    options = parser.parse_args()
    augment = Augmentation()
    with tempfile.TemporaryDirectory(prefix="softgate-loader-") as scratch:
        people = frames(Path(scratch), options.frames)
        kept = Path(scratch) / "kept"
        kept.mkdir()
        write_crops(kept, people, CropGeometry.of(IMAGE_SIZE, augment))
        rows = []
        for source, crops in (("pictures", None), ("crops", CropCache(kept))):
            dataset = PoseDataset(people, IMAGE_SIZE, augment, crops=crops)
            rate = loading_rate(dataset, 16, options.workers, options.seconds)
            core = processor_ms(dataset)
            rows.append({"source": source, "crops_per_second": rate, "core_ms_per_crop": core})
            print(
                f"from {source}: {rate:.0f} crops/s with {options.workers} workers, "
                f"{core:.2f} ms of a core each"
            )
    if options.json is not None:
        write_json(
            options.json, {"machine": describe_machine(), "workers": options.workers, "rows": rows}
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
