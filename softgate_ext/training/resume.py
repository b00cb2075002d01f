"""The checks of a resume: whether the stored training can continue with the new options."""

from typing import Any

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.schedule import Budget


def who(train_set: PoseSet, watched: PoseSet) -> dict[str, str]:
    """Digests of the samples, with which a resume recognises them wherever their files are."""
    return {"train": train_set.digest(), "watched": watched.digest()}


def standing(
    config: TrainConfig,
    stored: RunConfig,
    state: dict[str, Any],
    people: dict[str, str],
    steps: int,
) -> tuple[int, float, float, bool]:
    """How much of the training of `state` is done, given the length in `config`.

    Args:
        config: the options of the command that resumes.
        stored: the configuration of the run.
        state: the training state of the run.
        people: the result of `who` for the samples of the command.
        steps: steps of an epoch, with the options of the command.

    Returns:
        The number of complete epochs; the best score on the watched samples in percent, -1 before the
        first evaluation; the seconds of training; whether the training is complete.

    Raises:
        InputError: the samples differ, or fewer epochs or minutes are asked for than are done.
        LookupError, TypeError: `state` is not a training state.
    """
    before = state.get("people", people)  # earlier versions did not store it
    if before["train"] != people["train"]:
        raise InputError(
            "resume: data, extra and holdout give other samples than the run was trained on; takes "
            f"the same samples, or start a new run from these weights: another --out with --init "
            f"{config.out}"
        )
    # A best score on other samples cannot be compared with the scores to come.
    best = state["best"] if before["watched"] == people["watched"] else -1.0
    epoch, elapsed = state["epoch"], state["elapsed"]
    budget = Budget(config.epochs, config.minutes, steps, elapsed, config.schedule)
    # A user who gives fewer epochs than are done probably means epochs to add, so this is an error.
    if budget.epochs is not None and budget.epochs < epoch:
        raise InputError(
            f"epochs: got {budget.epochs}, but {counted(epoch, '[is|are] done')}; takes the total of all "
            f"epochs, more than {epoch}"
        )
    # The last step may end a little after the given minutes, so equal minutes are no error.
    minutes = config.minutes
    changed = minutes != stored.training.minutes
    if minutes is not None and changed and 60 * minutes < elapsed:
        raise InputError(
            f"minutes: got {minutes:g}, but {elapsed / 60:.1f} are spent; takes the "
            "total of all minutes, more than that"
        )
    return epoch, best, elapsed, budget.progress(epoch * steps) >= 1
