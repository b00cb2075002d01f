"""The two legs: their steps, in which order and which in parallel, and the time limit of each."""

from dataclasses import dataclass

LEG_SECONDS = 540
STEP_SECONDS = 120


@dataclass(frozen=True)
class Step:
    """A module of this folder with its arguments.

    Attributes:
        limit: seconds after which the step is stopped.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    limit: int = STEP_SECONDS


def _sanitizer(tool: str) -> Step:
    return Step(tool, "sanitize", (tool,))


# The steps of a group run in parallel: they compile or check. A step that measures runs alone.
LEGS: dict[int, tuple[tuple[Step, ...], ...]] = {
    1: (
        (Step("build", "build"), Step("Triton's tests", "tests", ("triton",))),
        (Step("stress", "stress"),),
        (Step("ops", "measure_ops"),),
        (Step("sweep", "sweep", limit=90),),
        (Step("counters", "counters", limit=60),),
    ),
    2: (
        (Step("tests", "tests", ("device",)),),
        tuple(map(_sanitizer, ("memcheck", "racecheck", "synccheck", "initcheck"))),
        (Step("training step", "network", ("training",)),),
        (Step("inference", "network", ("inference",)),),
        (Step("memory", "network", ("memory",), limit=60),),
    ),
}
