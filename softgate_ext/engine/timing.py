"""How long a training step takes, backend against backend."""

import statistics
import time
from collections.abc import Sequence

import torch

from softgate_ext.backend import use_backend
from softgate_ext.engine.config import TrainConfig
from softgate_ext.engine.device import resolve_device
from softgate_ext.engine.distributed import Group
from softgate_ext.engine.learner import Learner
from softgate_ext.models import create_model
from softgate_ext.pose.codec import HeatmapCodec


def time_steps(
    config: TrainConfig,
    joints: int,
    backends: Sequence[str] = ("auto", "reference"),
    rounds: int = 12,
) -> dict[str, float]:
    """Median seconds of a whole training step (forward, loss, backward, update) by backend.

    The backends take turns, so that whatever else the machine does falls on all of them alike;
    two rounds of warming up are not counted. The batch is random: its values cost no time.

    Args:
        config: network, image size, batch size, precision, layout and device.
        joints: heatmaps of the network.
        backends: names that `use_backend` takes.
        rounds: steps of each backend that count.
    """
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    model = create_model(config.model, **{"joints": joints, **config.model_options})
    codec = HeatmapCodec(config.image_size, config.image_size // 4, config.sigma)
    learner = Learner(model, codec, config, Group(device))
    size, people = config.image_size, config.batch_size
    batch = {
        "image": torch.randint(0, 256, (people, 3, size, size), dtype=torch.uint8),
        "joints": torch.rand(people, joints, 2) * size,
        "weights": torch.ones(people, joints),
    }
    seconds: dict[str, list[float]] = {backend: [] for backend in backends}
    for turn in range(rounds + 2):
        for backend in backends:
            with use_backend(backend):
                start = time.perf_counter()
                learner.step(batch, 1e-3)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if turn >= 2:
                    seconds[backend].append(time.perf_counter() - start)
    return {backend: statistics.median(values) for backend, values in seconds.items()}
