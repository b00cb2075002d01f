"""Learning rate as a function of how much of the training is done."""

import math
import time
from typing import Literal


def learning_rate_factor(
    progress: float, schedule: Literal["cosine", "step"] = "cosine", warmup: float = 0.0
) -> float:
    """What the learning rate is multiplied by.

    Args:
        progress: share of the training that is done, 0 to 1.
        schedule: "cosine" falls from 1 to 0; "step" is 1, 0.1 from 60 % and 0.01 from 85 %.
        warmup: share of the training in which the factor also rises linearly from 0.
    """
    progress = min(max(progress, 0.0), 1.0)
    rise = min(1.0, progress / warmup) if warmup > 0 else 1.0
    if schedule == "step":
        return rise * (1.0 if progress < 0.6 else 0.1 if progress < 0.85 else 0.01)
    return rise * 0.5 * (1.0 + math.cos(math.pi * progress))


class Budget:
    """How much of a training is done, where its length is in epochs, in minutes, or in both.

    The clock goes on from `elapsed`, so that a resumed training spends what was left. With both
    lengths given, the one that is reached first ends the training.
    """

    def __init__(
        self, epochs: int | None, minutes: float | None, steps_per_epoch: int, elapsed: float = 0.0
    ) -> None:
        if epochs is None and minutes is None:
            epochs = 100
        self.steps = None if epochs is None else epochs * steps_per_epoch
        self.seconds = None if minutes is None else minutes * 60.0
        self._start = time.monotonic() - elapsed

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Share of the training done after `step` steps, 0 to 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = self.elapsed / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_clock))

    def remaining(self, step: int, seconds_per_step: float) -> float:
        """Seconds that are expected to be left after `step` steps of `seconds_per_step` each."""
        left = []
        if self.steps is not None:
            left.append((self.steps - step) * seconds_per_step)
        if self.seconds is not None:
            left.append(self.seconds - self.elapsed)
        return max(0.0, min(left))
