"""The preparation of a training: everything is made and checked before the first file is written."""

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
    """Reads the samples and builds the network, the same in every process.

    Args:
        config: the options of the command.
        stored: the configuration of the run that is resumed, or None.
        group: the processes. Each process checks a share of the images.
        console: where the first process prints.

    Returns:
        The samples to train on; the samples to watch; the order of the former, with this process's
        share of each batch; the initialised network on the CPU; the configuration of the run; the
        score of the constant mean pose on the watched samples.

    Raises:
        InputError: the data or the options cannot be used, or `stored` cannot be resumed with them.
    """
    check_open_files(config.workers, loaders=2)  # one for training, one for the watched samples
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    # The number of joints is not known before the data are read; it does not affect image sizes.
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
    check_ranges(run)  # reading the run's configuration checks the same ranges
    if stored is not None:
        _check_same_network(stored, run)
        if config.init != stored.training.init:
            raise InputError(
                f"init: got {config.init} beside resume, which continues from the run's own weights; "
                "leave one of them out"
            )
        run.init_sha256 = stored.init_sha256
    elif config.init is not None:
        words, run.init_sha256 = init_weights(config.init, model)
        say(console, words)
    baseline = score(constant_pose(train_set, watched), watched, protocol)
    unread = [] if config.cache else train_set.image_paths  # filling the cache reads every image
    pictures = [*unread, *watched.image_paths]
    check_pictures(pictures[group.rank :: group.size])
    order = EpochBatches(len(train_set), config.batch_size, config.seed, group.rank, group.size)
    _try_step(model, config, order)
    return train_set, watched, order, model, run, baseline


def _with_labels_of(watched: PoseSet, train_set: PoseSet) -> PoseSet:
    """The same samples without the labels of joints that `train_set` never labels."""
    taught = train_set.labelled.any(0)
    return replace(watched, labelled=watched.labelled & taught, visible=watched.visible & taught)


def _try_step(model: PoseModel, config: TrainConfig, order: EpochBatches) -> None:
    """Raises InputError if the network cannot be trained on images or batches of this size.

    A forward pass of two images is enough: the fault to find is a batch norm with a single value per
    channel.
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


_KEPT = ("optimizer", "metric", "oks_sigmas")  # the log and the best weights rely on one metric


def _check_same_network(stored: RunConfig, asked: RunConfig) -> None:
    """Raises InputError unless a run with the configuration `stored` can be resumed as `asked`."""
    skeleton = get_skeleton(stored.skeleton)
    same = skeleton == get_skeleton(asked.skeleton)  # an older version stored fewer fields
    known = replace(stored, skeleton=asked.skeleton if same else skeleton.stored)
    before, now = to_json(known), to_json(asked)
    for entries in (before, now):
        entries |= {name: entries["training"][name] for name in _KEPT}
    for name in ("model", "skeleton", "image_size", "sigma", *_KEPT):
        if before[name] != now[name]:
            raise InputError(
                f"resume: the run has {name} {before[name]}, which cannot become {now[name]}"
            )
