"""What a training starts from, made and checked before its first file is written."""

import copy
from dataclasses import replace

import torch
from rich.console import Console

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.measure import constant_pose, protocol_for, score
from softgate_ext.files.console import say
from softgate_ext.files.counted import counted
from softgate_ext.files.folders import check_outside
from softgate_ext.inference.batches import check_open_files
from softgate_ext.models import PoseModel, build_model
from softgate_ext.pose.protocol import Score
from softgate_ext.pose.skeleton import get_skeleton
from softgate_ext.ranges import check_ranges
from softgate_ext.runs.config_json import to_json
from softgate_ext.runs.opening import init_weights
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.order import EpochBatches
from softgate_ext.training.people import box_margin, check_pictures, split_people
from softgate_ext.training.processes import Group


def prepare(
    config: TrainConfig, stored: RunConfig | None, group: Group, console: Console
) -> tuple[PoseSet, PoseSet, EpochBatches, PoseModel, RunConfig, Score]:
    """Reads the people and makes the network; the same in every process, but for the order.

    Args:
        config: the command.
        stored: the run that is resumed.
        group: the processes; each looks at a share of the pictures.
        console: where the first process talks.

    Returns:
        The people to train on and those to watch; the order of the former, this process's share;
        the network as initialised, on the CPU; what is kept of it; the figures of the constant
        mean pose on the people watched, by the metric that is watched.

    Raises:
        InputError: the data or the options cannot be used, or not to go on with `stored`.
    """
    check_open_files(config.workers, loaders=2)  # watching has one of its own
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    # The number of joints, which the data tell, changes nothing about the sizes that are taken.
    sized = build_model(config.model, {**config.model_options, "joints": 1})
    sized.check_image_size(config.image_size)
    train_set, watched = split_people(config)
    for note in (*train_set.notes, *watched.notes):
        say(console, note)
    watched = _with_labels_of(watched, train_set)
    protocol = protocol_for(watched, config.metric, config.oks_sigmas)
    if stored is None:
        for path in (config.data, *config.extra):
            check_outside(config.out, path)
    torch.manual_seed(config.seed)
    options = {**config.model_options, "joints": len(train_set.skeleton)}
    model = build_model(config.model, options)
    run = RunConfig(
        model=model.config,
        skeleton=train_set.skeleton.stored,
        image_size=config.image_size,
        sigma=config.sigma,
        box_margin=box_margin(train_set),
        training=replace(config, resume=False),
    )
    check_ranges(run)  # or nobody could read it back
    if stored is not None:
        _check_same_network(stored, run)
        if config.init != stored.training.init:
            raise InputError(
                f"init: got {config.init} beside resume, which continues from the run's own weights; "
                "leave one of them out"
            )
    elif config.init is not None:
        say(console, init_weights(config.init, model))
    baseline = score(constant_pose(train_set, watched), watched, protocol)
    unread = [] if config.cache else train_set.image_paths  # making crops reads them all
    pictures = [*unread, *watched.image_paths]
    check_pictures(pictures[group.rank :: group.size])
    order = EpochBatches(len(train_set), config.batch_size, config.seed, group.rank, group.size)
    _try_step(model, config, order)
    return train_set, watched, order, model, run, baseline


def _with_labels_of(watched: PoseSet, train_set: PoseSet) -> PoseSet:
    """The same people; joints that nobody of `train_set` has labelled are not counted."""
    taught = train_set.labelled.any(0)
    return replace(watched, labelled=watched.labelled & taught, visible=watched.visible & taught)


def _try_step(model: PoseModel, config: TrainConfig, order: EpochBatches) -> None:
    """Raises InputError where the network cannot train on such images or batches.

    Two images show all that more would: what fails of itself is a normalisation that is left with
    one value per channel.
    """
    people, size = order.smallest // config.accumulate, config.image_size
    if people < 1:
        raise InputError(
            f"batch_size: got {config.batch_size} samples, which are too few for "
            f"{counted(order.size, 'process[es]')} with "
            f"{counted(config.accumulate, 'forward pass[es]')} each; takes at least one sample for "
            "each forward pass of each process"
        )
    if config.sync_bn:
        people *= order.size
    try:
        with torch.no_grad():
            copy.deepcopy(model).train()(torch.zeros(min(2, people), 3, size, size))
    except ValueError as error:
        if "value per channel" not in str(error):
            raise
        raise InputError(
            f"batch_size: got {config.batch_size} of {counted(order.count, 'sample[s]')} at image_size {size}, "
            "which leaves a batch norm one value per channel to normalise; takes more samples in a "
            "forward pass, or larger images"
        ) from error


_KEPT = ("optimizer", "metric", "oks_sigmas")  # the best weights and the log go by one metric


def _check_same_network(stored: RunConfig, asked: RunConfig) -> None:
    """Raises InputError unless a run of `stored` can go on as `asked`."""
    skeleton = get_skeleton(stored.skeleton)
    same = skeleton == get_skeleton(asked.skeleton)  # though one was stored with less about it
    known = replace(stored, skeleton=asked.skeleton if same else skeleton.stored)
    before, now = to_json(known), to_json(asked)
    for entries in (before, now):
        entries |= {name: entries["training"][name] for name in _KEPT}
    for name in ("model", "skeleton", "image_size", "sigma", *_KEPT):
        if before[name] != now[name]:
            raise InputError(
                f"resume: the run has {name} {before[name]}, which cannot become {now[name]}"
            )
