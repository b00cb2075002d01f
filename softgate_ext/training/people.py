"""The samples of a training: those to train on, and those that are watched (evaluated) meanwhile."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from softgate_ext.data.dataset_source import DatasetSource
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.images import read_image
from softgate_ext.data.join import join, to_skeleton
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.data.shared_pictures import shared_pictures
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.pose.metrics import box_sides, boxes_around
from softgate_ext.pose.mirror import swap_joints
from softgate_ext.runs.train_config import TrainConfig


def split_people(config: TrainConfig) -> tuple[PoseSet, PoseSet]:
    """The samples to train on and the samples to watch, both with the joints of all datasets.

    Raises:
        InputError: the datasets cannot be used this way, `swap` names other joints than theirs, or
            mirroring is on although a joint exists on one side only.
    """
    source = recognise(config.data, "data", config.train_folder, config.test_folder)
    _refuse_twice(config, source)
    train = source.read("train")
    if config.holdout == 0:
        try:
            watched = source.read("test")
        except EmptySplit as error:
            raise InputError(
                f"holdout: got 0, but {error.fault}; takes the number of samples of the train part to watch "
                "instead of training on them"
            ) from None
    elif config.holdout < len(train):
        kept = len(train) - config.holdout
        train, watched = train.subset(range(kept)), train.subset(range(kept, len(train)))
    else:
        raise InputError(
            f"holdout: got {config.holdout}; takes fewer than {counted(len(train), 'sample[s]')}"
        )
    if 0 < config.watch < len(watched):
        watched = watched.subset(np.linspace(0, len(watched) - 1, config.watch).astype(int))
    # A note on the whole dataset is in both parts; it is kept once.
    own = tuple(note for note in watched.notes if note not in train.notes)
    train = join([train, *(open_dataset(path, "train", argument="extra") for path in config.extra)])
    watched = to_skeleton(watched, train.skeleton)
    watched = replace(watched, notes=(*own, *shared_pictures(train, watched)))
    skeleton = swap_joints(train.skeleton, config.swap)
    if config.flip > 0:
        _ = skeleton.flip_permutation  # raises before a picture is read
    return replace(train, skeleton=skeleton), replace(watched, skeleton=skeleton)


def _refuse_twice(config: TrainConfig, source: DatasetSource) -> None:
    """Raises InputError if `extra` names a dataset that is used already.

    Its samples would count twice, and samples that are watched in one would be trained on in the other.
    """
    known = source.read_from("all")
    for path in config.extra:
        places = recognise(path, "extra").read_from("train")
        if places & known:
            raise InputError(
                f"extra: got {path}, which data, train_folder, test_folder or extra names already; "
                "takes other datasets"
            )
        known |= places


def check_pictures(paths: Iterable[Path]) -> None:
    """Reads every image once, so that a damaged one is found before the training and not in it.

    Raises:
        InputError: an image is missing or damaged.
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
    """The median ratio of the side of a crop to the longer side of the box around the joints.

    Raises:
        InputError: no sample has two labelled joints at different places.
    """
    longer = box_sides(boxes_around(people.joints, people.labelled)).max(1)
    usable = longer > 0  # false for NaN
    if not usable.any():
        raise InputError(
            f"data: no sample of {people.name} has two labelled joints to train on; takes a dataset "
            "with such samples"
        )
    return round(float(np.median(people.sizes[usable] / longer[usable])), 4)
