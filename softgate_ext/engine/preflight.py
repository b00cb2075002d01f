"""What is checked before a training writes its first file."""

import copy
from pathlib import Path

import torch

from softgate_ext.engine import checkpoint
from softgate_ext.engine.config import RunConfig, TrainConfig, to_json
from softgate_ext.engine.loading import EpochBatches
from softgate_ext.engine.log import read_log
from softgate_ext.errors import InputError
from softgate_ext.models import PoseModel


def refuse_a_run(out: Path) -> None:
    """Raises InputError where `out` holds what a training made, whole or not."""
    if (out / checkpoint.STATE).exists():
        raise InputError(
            f"out: {out} holds a run already; add --resume to continue it, or give another folder"
        )
    for name in checkpoint.WEIGHTS.values():
        if (out / name).exists():
            raise InputError(
                f"out: {out} holds weights ({name}) but no {checkpoint.STATE} to resume from; give "
                "another folder"
            )
    if read_log(out / checkpoint.LOG):
        raise InputError(
            f"out: {out} holds the log of a run ({checkpoint.LOG}); give another folder"
        )


def try_step(model: PoseModel, config: TrainConfig, order: EpochBatches) -> None:
    """Raises InputError where the network cannot train on such images or batches.

    Two images show all that more would: what fails of itself is a normalisation that is left with
    one value per channel.
    """
    people, size = order.smallest // config.accumulate, config.image_size
    if people < 1:
        raise InputError(
            f"batch_size: got {config.batch_size}, of which some of {order.size} processes and "
            f"{config.accumulate} forward passes would get nobody; takes more people, or fewer of "
            "those"
        )
    if config.sync_bn:
        people *= order.size
    try:
        with torch.no_grad():
            copy.deepcopy(model).train()(torch.zeros(min(2, people), 3, size, size))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"batch_size: got {config.batch_size} of {order.count} people at image_size {size}, "
            "where a normalisation has one value per channel left; takes more people in a forward "
            "pass, or larger images"
        ) from error


def check_same_network(stored: RunConfig, asked: RunConfig) -> None:
    """Raises InputError unless a run of `stored` can go on as `asked`."""
    before, now = to_json(stored), to_json(asked)
    for entries in (before, now):
        entries["optimizer"] = entries["training"]["optimizer"]
    for name in ("model", "skeleton", "image_size", "sigma", "optimizer"):
        if before[name] != now[name]:
            raise InputError(
                f"resume: the run has {name} {before[name]}, which cannot become {now[name]}"
            )
