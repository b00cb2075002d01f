"""Where a training stands that is resumed, and whether it can go on as it is asked to."""

from typing import Any

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.schedule import Budget


def who(train_set: PoseSet, watched: PoseSet) -> dict[str, str]:
    """What a training state keeps of its people, to know them again wherever their files lie."""
    return {"train": train_set.digest(), "watched": watched.digest()}


def standing(
    config: TrainConfig,
    stored: RunConfig,
    state: dict[str, Any],
    people: dict[str, str],
    steps: int,
) -> tuple[int, float, float, bool]:
    """Where the training of `state` stands in one of the length that `config` gives it.

    Args:
        config: the command that resumes.
        stored: the run.
        state: its training state.
        people: as `who` tells them now.
        steps: in an epoch, now.

    Returns:
        Whole epochs; highest figure of the people who are watched, percent, -1 before the first
        evaluation; seconds of training; whether nothing is left of its length.

    Raises:
        InputError: the people are others, or there are fewer epochs or minutes than are done.
        LookupError, TypeError: `state` is not a training state.
    """
    before = state.get("people", people)  # states of earlier versions do not say
    if before["train"] != people["train"]:
        raise InputError(
            "resume: data, extra and holdout give other samples than the run was trained on; takes "
            f"the same samples, or start a new run from these weights: another --out with --init "
            f"{config.out}"
        )
    # The best of other people would keep these from ever having one.
    best = state["best"] if before["watched"] == people["watched"] else -1.0
    epoch, elapsed = state["epoch"], state["elapsed"]
    budget = Budget(config.epochs, config.minutes, steps, elapsed, config.schedule)
    # Refused rather than taken for done: who asks for fewer means to add them.
    if budget.epochs is not None and budget.epochs < epoch:
        raise InputError(
            f"epochs: got {budget.epochs}, but {counted(epoch, '[is|are] done')}; takes the total of all "
            f"epochs, more than {epoch}"
        )
    # The last step of a training may end a little after its time, hence only where it is changed.
    minutes = config.minutes
    changed = minutes != stored.training.minutes
    if minutes is not None and changed and 60 * minutes < elapsed:
        raise InputError(
            f"minutes: got {minutes:g}, but {elapsed / 60:.1f} are spent; takes the "
            "total of all minutes, more than that"
        )
    return epoch, best, elapsed, budget.progress(epoch * steps) >= 1
