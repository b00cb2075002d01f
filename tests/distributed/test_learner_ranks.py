"""Training steps of several processes against those of one process on the joined batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.models import create_model
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.learner import Learner
from softgate_ext.training.processes import Group


def learn(group: Group, part: slice, **options: object) -> dict[str, Tensor]:
    """Weights, moving average and losses after three steps, the second of which is not finite."""
    config = TrainConfig(Path(), Path(), lr=1e-3, amp="off", ema=0.5, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = create_model("hybrid_1x32", width=8, depth=2, groups=1, joints=3)
    learner = Learner(model, HeatmapCodec(64, 16), config, group)
    losses = []
    for step in range(3):
        make = torch.Generator().manual_seed(step)
        batch = {
            "image": torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8, generator=make),
            "joints": torch.rand(7, 3, 2, generator=make) * 63,
            "weights": (torch.rand(7, 3, generator=make) < 0.7).float(),
        }
        if step == 1:
            batch["weights"][0] = torch.nan  # of the first process alone
        losses.append(learner.step({key: value[part] for key, value in batch.items()}, 1.0))
    assert learner.skipped == 1
    learner.share_statistics()
    average = {f"average.{n}": t for n, t in learner.evaluated.state_dict().items()}
    return {**learner.model.state_dict(), **average, "losses": torch.tensor(losses)}


PARTS = (slice(0, 4), slice(4, 7))
CPU = torch.device("cpu")


def faults(group: Group) -> list[str]:
    """What a process sees of a fault of all, of the second, and of the first while it decides."""

    def fail(where: bool) -> None:
        if where:
            raise InputError(f"faulty in {group.rank}")

    def fault_of(rank: int | None) -> str:
        try:
            with group.together():
                fail(rank in (None, group.rank))
        except InputError as error:
            return f"{type(error).__name__} {error}"
        return "none"

    def first_fails() -> str:
        try:
            return group.from_first(lambda: str(fail(True)))
        except InputError as error:
            return f"{type(error).__name__} {error}"

    assert group.from_first(lambda: group.rank) == 0 and group.gather(group.rank) == [0, 1]
    return [fault_of(None), fault_of(1), first_fails()]


def on_rank(rank: int) -> dict[str, Any]:
    group = Group(CPU, rank, 2)
    return {
        "joined": learn(group, PARTS[rank], sync_bn=True),
        "own": learn(group, PARTS[rank], accumulate=2),
        "faults": faults(group),
    }


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_and_stay_alike(tmp_path: Path) -> None:
    first, second = run(on_rank, 2, tmp_path)
    whole = learn(Group(CPU), slice(None))
    for part in (first, second):
        torch.testing.assert_close(part["joined"], whole, rtol=1e-3, atol=1e-5, equal_nan=True)
    # With statistics of their own, and gradients of several forward passes.
    assert torch.isfinite(first["own"]["losses"]).tolist() == [True, False, True]
    torch.testing.assert_close(first["own"], second["own"], rtol=0, atol=0, equal_nan=True)
    here, elsewhere = "InputError faulty in {}".format, "Elsewhere "
    assert first["faults"] == [here(0), elsewhere, here(0)]
    assert second["faults"] == [elsewhere, here(1), elsewhere]
