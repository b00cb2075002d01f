"""Timing of training steps and forward passes, interleaved so that other load affects all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from softgate_ext.inference.device import resolve_device
from softgate_ext.models import build_model
from softgate_ext.ops.backend import use_backend
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.learner import Learner
from softgate_ext.training.processes import Group


def time_steps(
    config: TrainConfig,
    joints: int,
    backends: Sequence[str] = ("auto", "reference"),
    rounds: int = 12,
) -> dict[str, float]:
    """The median seconds of a training step (forward, loss, backward, update) with each backend.

    The backends take turns, so that other load on the machine affects all of them alike. Two warm-up
    rounds are not counted. The batch is random, because the time does not depend on its values.

    Args:
        config: network, image size, batch size, precision, layout and device.
        joints: number of joints of the network.
        backends: names that `use_backend` takes.
        rounds: number of steps of each backend that are counted.

    Returns:
        Median seconds by backend.
    """
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    model = build_model(config.model, {"joints": joints, **config.model_options})
    codec = model.codec(config.image_size, config.sigma)
    learner = Learner(model, codec, config, Group(device))
    size, people = config.image_size, config.batch_size
    batch = {
        "image": torch.randint(0, 256, (people, 3, size, size), dtype=torch.uint8),
        "joints": torch.rand(people, joints, 2) * size,
        "weights": torch.ones(people, joints),
    }

    def step(backend: str) -> None:
        with use_backend(backend):
            learner.step(batch, 1e-3)

    return in_turns({backend: partial(step, backend) for backend in backends}, device, rounds)


def time_forward(
    models: Mapping[str, nn.Module], images: Tensor, rounds: int = 12
) -> dict[str, float]:
    """The median seconds of a forward pass without gradients, for several models in turns.

    Args:
        models: networks by name, on the device of `images`.
        images: (N, 3, H, W).
        rounds: number of passes of each model that are counted, after two warm-up passes.

    Returns:
        Median seconds by the name of the model.
    """

    def forward(model: nn.Module) -> None:
        with torch.inference_mode():
            model(images)

    calls = {name: partial(forward, model) for name, model in models.items()}
    return in_turns(calls, images.device, rounds)


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The median seconds of each call, by its name, after two warm-up rounds.

    Args:
        calls: the functions to time, which are called in turns.
        device: if it is a GPU, the clock stops after a synchronisation with it.
        rounds: number of calls of each function that are counted.
        clock: with `time.process_time`, time that other programs take is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = clock()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 2:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
