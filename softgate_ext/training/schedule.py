"""The learning-rate schedules, and the length of a training in epochs or minutes."""

import math
import time

from softgate_ext.runs.train_config import Schedule

# (share of the training from which it holds, factor). In the paper the learning rate falls from 2.5e-4
# to 1e-5 at epochs 75, 100 and 150 of 200. The paper does not give the two rates in between; equal
# factors are used here.
_STEPS: dict[Schedule, tuple[tuple[float, float], ...]] = {
    "step": ((0.6, 0.1), (0.85, 0.01)),
    "paper": ((0.375, 0.04 ** (1 / 3)), (0.5, 0.04 ** (2 / 3)), (0.75, 0.04)),
}


def learning_rate_factor(
    progress: float, schedule: Schedule = "cosine", warmup: float = 0.0
) -> float:
    """The factor that the learning rate is multiplied by.

    Args:
        progress: share of the training that is done, 0 to 1.
        schedule: "cosine" falls from 1 to 0. "step" is 1, from 60 % on 0.1, and from 85 % on 0.01.
            "paper" is 1, and from 37.5 %, 50 % and 75 % on 0.04 to the power of 1/3, 2/3 and 1.
        warmup: share of the training in which the factor is also multiplied by a linear rise from 0
            to 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    rise = min(1.0, progress / warmup) if warmup > 0 else 1.0
    if schedule == "cosine":
        return rise * 0.5 * (1.0 + math.cos(math.pi * progress))
    return rise * min([1.0, *(factor for start, factor in _STEPS[schedule] if progress >= start)])


class Budget:
    """The length of a training in epochs, in minutes or in both, and how much of it is done.

    With both lengths, the training ends when the first of them is reached. Without either it takes
    100 epochs, 200 with the schedule "paper". The clock starts at `elapsed`, so that a resumed training
    uses the remaining time. Steps are counted as if every epoch had `steps_per_epoch`, even if an
    earlier part of the run had batches of another size.

    Args:
        epochs: total number of epochs, or None.
        minutes: total minutes, or None.
        steps_per_epoch: steps of an epoch.
        elapsed: seconds of training before this process.
        schedule: the schedule, for the default length.
    """

    def __init__(
        self,
        epochs: int | None,
        minutes: float | None,
        steps_per_epoch: int,
        elapsed: float = 0.0,
        schedule: Schedule = "cosine",
    ) -> None:
        if epochs is None and minutes is None:
            epochs = 200 if schedule == "paper" else 100
        self.epochs = epochs
        self.steps = None if epochs is None else epochs * steps_per_epoch
        self.seconds = None if minutes is None else minutes * 60.0
        self._start = time.monotonic() - elapsed

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, including those before a resume."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Share of the training done after `step` steps, 0 to 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = self.elapsed / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_clock))

    def remaining(self, step: int, seconds_per_step: float) -> float:
        """The expected remaining seconds after `step` steps of `seconds_per_step` seconds each."""
        left = []
        if self.steps is not None:
            left.append((self.steps - step) * seconds_per_step)
        if self.seconds is not None:
            left.append(self.seconds - self.elapsed)
        return max(0.0, min(left))
