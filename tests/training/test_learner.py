"""One training step."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from softgate_ext.models import create_model
from softgate_ext.nn import WinogradConv2d, convolution
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.learner import Learner
from softgate_ext.training.processes import Group

Make = Callable[..., TrainConfig]


def learner(config: TrainConfig) -> Learner:
    torch.manual_seed(config.seed)
    model = create_model(config.model, **{"joints": 3, **config.model_options})
    codec = HeatmapCodec(config.image_size, config.image_size // 4)
    return Learner(model, codec, config, Group(torch.device("cpu")))


def batch(seed: int = 0) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=make),
        "joints": torch.rand(4, 3, 2, generator=make) * 63,
        "weights": torch.ones(4, 3),
    }


def snapshot(subject: Learner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}


@pytest.mark.parametrize(("optimizer", "amp"), [("rmsprop", "off"), ("adamw", "bf16")])
def test_it_learns_one_batch_by_heart(tiny: Make, optimizer: str, amp: str) -> None:
    subject = learner(tiny(optimizer=optimizer, amp=amp, lr=3e-3))
    losses = [subject.step(batch(), 1.0) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert subject.skipped == 0 and subject.steps == 40


def test_the_factor_scales_the_learning_rate(tiny: Make) -> None:
    subject = learner(tiny())
    before = snapshot(subject)
    subject.step(batch(), 0.0)
    after = subject.model.state_dict()
    for name, _ in subject.model.named_parameters():
        assert torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(tiny: Make, poison: str) -> None:
    subject = learner(tiny(ema=0.9))
    subject.step(batch(), 1.0)
    before = snapshot(subject)
    average = {k: v.clone() for k, v in subject.evaluated.state_dict().items()}
    if poison == "loss":
        bad = batch(1) | {"weights": torch.full((4, 3), math.nan)}
        assert math.isnan(subject.step(bad, 1.0))
    else:
        parameter = next(subject.model.parameters())
        hook = parameter.register_hook(lambda gradient: gradient * math.inf)
        assert math.isnan(subject.step(batch(1), 1.0))
        hook.remove()
    assert subject.skipped == 1
    for name, tensor in subject.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for name, tensor in subject.evaluated.state_dict().items():
        assert torch.equal(tensor, average[name]), name
    assert math.isfinite(subject.step(batch(2), 1.0))


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw"])
def test_a_restored_learner_goes_on_bit_for_bit(tiny: Make, ema: float, optimizer: str) -> None:
    first = learner(tiny(ema=ema, optimizer=optimizer))
    for seed in range(2):
        first.step(batch(seed), 1.0)
    second = learner(tiny(ema=ema, optimizer=optimizer, seed=1))
    stored = io.BytesIO()
    torch.save(first.state(), stored)
    stored.seek(0)
    second.restore(torch.load(stored, weights_only=True))
    for seed in range(2, 4):
        assert first.step(batch(seed), 0.7) == second.step(batch(seed), 0.7)
    for name, tensor in first.evaluated.state_dict().items():
        assert torch.equal(tensor, second.evaluated.state_dict()[name]), name


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state[0].update(exp_avg=state[0]["exp_avg"][:1].clone()),
        lambda state: state[0].pop("exp_avg_sq"),
        lambda state: state[0].update(other=1),
        lambda state: state[0].update(step=torch.tensor(-1.0)),
        lambda state: state[0]["exp_avg"].fill_(math.nan),
        lambda state: state[0]["exp_avg_sq"].neg_(),
        lambda state: state.pop(0),
        lambda state: state.clear(),
    ],
)
def test_an_optimizer_that_does_not_fit_is_refused(tiny: Make, damage: Callable[..., Any]) -> None:
    subject = learner(tiny(optimizer="adamw"))
    subject.step(batch(), 1.0)
    state = copy.deepcopy(subject.state())
    damage(state["optimizer"]["state"])
    with pytest.raises((ValueError, AttributeError)):
        learner(tiny(optimizer="adamw")).restore(state)


def test_the_options_of_an_optimizer_are_the_configurations(tiny: Make) -> None:
    subject = learner(tiny(optimizer="adamw"))
    subject.step(batch(), 1.0)
    state = copy.deepcopy(subject.state())
    options = [{**group, "params": None} for group in subject.optimizer.param_groups]
    for group in state["optimizer"]["param_groups"]:
        group.update(betas=("x", 7), eps=math.nan, capturable=True)
    subject.restore(state)
    assert [{**group, "params": None} for group in subject.optimizer.param_groups] == options


def test_the_average_lies_between_the_weights_it_has_seen(tiny: Make) -> None:
    subject = learner(tiny(ema=0.5))
    weight, average = (next(m.parameters()) for m in (subject.model, subject.evaluated))
    subject.step(batch(), 1.0)
    before = weight.detach().clone()
    assert torch.equal(average, before)
    subject.step(batch(1), 1.0)
    decay = 2 / 11  # (1 + n) / (10 + n) after n = 1 step, below the 0.5 asked for
    assert torch.allclose(average, decay * before + (1 - decay) * weight.detach(), atol=1e-7)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_average_is_what_is_evaluated(tiny: Make, ema: float) -> None:
    subject = learner(tiny(ema=ema))
    for seed in range(2):
        subject.step(batch(seed), 1.0)
    average = subject.evaluated.state_dict()
    same = [torch.equal(t, average[name]) for name, t in subject.model.state_dict().items()]
    assert all(same) == (ema == 0)


def test_parts_of_a_batch_add_up_to_its_gradient(tiny: Make) -> None:
    """But for the statistics of the batch norms, which are those of the parts: here all alike."""
    same = batch()
    same["image"] = same["image"][:1].expand(4, -1, -1, -1)
    same["weights"][0, 1] = same["weights"][3] = 0.0
    whole, parts = learner(tiny()), learner(tiny(accumulate=2))
    assert parts.step(same, 0.0) == pytest.approx(whole.step(same, 0.0), rel=1e-5)
    expected = dict(whole.model.named_parameters())
    for name, parameter in parts.model.named_parameters():
        grad = expected[name].grad
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-3, atol=1e-7, msg=name)


def test_clipping_bounds_the_gradient(tiny: Make) -> None:
    subject = learner(tiny(clip=1e-4))
    subject.step(batch(), 1.0)
    gradients = [p.grad for p in subject.model.parameters() if p.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) <= 1.001e-4


def test_only_convolutions_decay(tiny: Make) -> None:
    subject = learner(tiny(weight_decay=0.1))
    decayed, kept = subject.optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0.0
    assert all(p.ndim == 4 for p in decayed["params"])
    assert all(p.ndim <= 1 for p in kept["params"])
    alphas = [p for n, p in subject.model.named_parameters() if n.endswith("alpha")]
    assert alphas and all(any(p is q for q in kept["params"]) for p in alphas)


def test_channels_last_gives_the_same_loss(tiny: Make) -> None:
    subjects = [learner(tiny(channels_last=layout, conv="direct")) for layout in (False, True)]
    losses = [subject.step(batch(), 1.0) for subject in subjects]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_cpu_convolves_by_winograd_unless_told_otherwise(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def winograds(*subjects: Learner) -> list[bool]:
        return [any(type(m) is WinogradConv2d for m in s.model.modules()) for s in subjects]

    default, direct = learner(tiny(amp="off")), learner(tiny(amp="off", conv="direct"))
    assert winograds(default, direct) == [True, False]
    assert [s.channels_last for s in (default, direct)] == [True, False]
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts("vectors"))
    assert winograds(learner(tiny(amp="bf16")), learner(tiny(amp="bf16", conv="direct"))) == [
        True,
        False,
    ]
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts("tiles"))
    slower = learner(tiny(amp="bf16"))
    assert winograds(slower) == [False] and not slower.channels_last
    assert default.state()["model"].keys() == direct.state()["model"].keys()
    assert default.step(batch(), 1.0) == pytest.approx(direct.step(batch(), 1.0), rel=1e-4)


def test_compilation_changes_no_name(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def stand_in(model: torch.nn.Module) -> torch.nn.Module:
        compiled.append(model)
        return torch.nn.Sequential(model)

    monkeypatch.setattr(torch, "compile", stand_in)
    subject = learner(tiny(compile=True))
    assert compiled == [subject.model]
    plain = learner(tiny())
    assert subject.step(batch(), 1.0) == plain.step(batch(), 1.0)
    assert subject.state()["model"].keys() == plain.state()["model"].keys()


class ConvolutionsOfOneThread(TorchDispatchMode):
    """PyTorch's convolutions alone: their sums are split by the number of threads."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        threads = torch.get_num_threads()
        aten = torch.ops.aten
        if func in (aten.convolution.default, aten.convolution_backward.default):
            torch.set_num_threads(1)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "options",
    [
        {"channels_last": True},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"conv": "winograd"}, marks=pytest.mark.slow),
        pytest.param({"amp": "bf16"}, marks=pytest.mark.slow),
        pytest.param({"amp": "bf16", "channels_last": True}, marks=pytest.mark.slow),
        pytest.param({"amp": "bf16", "conv": "winograd"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ten_steps_are_the_same_bits_over_threads(tiny: Make, options: dict[str, Any]) -> None:
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            subject = learner(tiny(**options))
            with ConvolutionsOfOneThread():
                losses = [subject.step(batch(seed), 1.0) for seed in range(10)]
            found.append((losses, snapshot(subject)))
    finally:
        torch.set_num_threads(before)
    for losses, weights in found[1:]:
        assert losses == found[0][0]
        for name, tensor in weights.items():
            assert torch.equal(tensor, found[0][1][name]), name
