"""The lines that a training prints before its first step."""

from collections.abc import Iterator

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.comparison import left_out_words
from softgate_ext.evaluation.measure import reference_lengths
from softgate_ext.files.counted import counted
from softgate_ext.inference.device import slow_bf16
from softgate_ext.pose.mirror import mirror_words
from softgate_ext.pose.protocol import Score
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.processes import Group


def opening_lines(
    config: TrainConfig,
    group: Group,
    parameters: int,
    train_set: PoseSet,
    watched: PoseSet,
    baseline: Score,
) -> Iterator[str]:
    """Lines about the network, the samples and the device, and about what the user may not expect.

    Args:
        config: the options of the command.
        group: the processes.
        parameters: number of learnable parameters.
        train_set: the samples to train on.
        watched: the samples that are evaluated during the training.
        baseline: score of the constant mean pose on `watched`.
    """
    yield "; ".join(
        [
            f"{config.model}, {parameters:,} parameters, {config.image_size} x {config.image_size}",
            f"{counted(len(train_set), 'sample[s]')} to train on, {len(watched)} to watch",
            f"{group.device}, amp {config.amp}"
            + (f", {group.size} processes" if group.size > 1 else ""),
        ]
    )
    if slow := slow_bf16(group.device, config.amp):
        yield slow
    skeleton, protocol = train_set.skeleton, baseline.protocol
    yield mirror_words(skeleton)
    yield f"constant mean pose: {protocol.metric} {baseline.main:.1f} %"
    if left_out := int(np.isnan(reference_lengths(watched, protocol)).sum()):
        yield left_out_words(left_out)
    taught = train_set.labelled.any(0)
    if absent := [skeleton.joints[j] for j in np.flatnonzero(~taught)]:
        yield f"masked, because no training sample has them labelled: {', '.join(absent)}"
