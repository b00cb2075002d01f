"""Steps of several processes against those of one on the joined batch."""

from pathlib import Path

import pytest
import torch
from ranks import run
from torch import Tensor

from softgate_ext.engine.config import TrainConfig
from softgate_ext.engine.distributed import Group
from softgate_ext.engine.learner import Learner
from softgate_ext.models import create_model
from softgate_ext.pose.codec import HeatmapCodec


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


def on_rank(rank: int) -> list[dict[str, Tensor]]:
    group = Group(CPU, rank, 2)
    return [
        learn(group, PARTS[rank], **options) for options in ({"sync_bn": True}, {"accumulate": 2})
    ]


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_and_stay_alike(tmp_path: Path) -> None:
    (first, own), (second, other) = run(on_rank, 2, tmp_path)
    whole = learn(Group(CPU), slice(None))
    for part in (first, second):
        torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-5, equal_nan=True)
    # With statistics of their own, and gradients of several forward passes.
    assert torch.isfinite(own["losses"]).tolist() == [True, False, True]
    torch.testing.assert_close(own, other, rtol=0, atol=0, equal_nan=True)
