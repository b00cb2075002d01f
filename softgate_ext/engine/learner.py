"""One step of training: forward, loss, backward, update; and all that a resume must restore."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from softgate_ext.engine.checkpoint import check_architecture
from softgate_ext.engine.config import TrainConfig
from softgate_ext.engine.device import autocast
from softgate_ext.engine.inference import to_input
from softgate_ext.engine.loss import heatmap_loss
from softgate_ext.models import PoseModel
from softgate_ext.pose.codec import HeatmapCodec


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """RMSprop or AdamW; only tensors of two or more dimensions (convolutions) decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.RMSprop(groups, lr=config.lr)


class Learner:
    """A network in training: weights, optimizer, moving average, and the count of skipped steps.

    A step whose loss or gradient is not finite changes nothing, running statistics included.
    """

    def __init__(
        self, model: PoseModel, codec: HeatmapCodec, config: TrainConfig, device: torch.device
    ) -> None:
        self.model = model.to(device)
        if config.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.codec = codec
        self.config = config
        self.device = device
        self.optimizer = make_optimizer(self.model, config)
        self.average = copy.deepcopy(self.model).requires_grad_(False) if config.ema else None
        self.steps = 0
        self.skipped = 0
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._buffers = list(self.model.buffers())
        self._good_buffers = [buffer.clone() for buffer in self._buffers]

    @property
    def evaluated(self) -> PoseModel:
        """The network to evaluate and keep: the moving average where there is one."""
        return self.model if self.average is None else self.average

    def step(self, batch: dict[str, Tensor], factor: float) -> float:
        """One update at `factor` times the learning rate; returns the loss (NaN when skipped)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
        self.model.train()
        images = to_input(batch["image"], self.device, self.config.channels_last)
        joints = batch["joints"].to(self.device, non_blocking=True)
        weights = batch["weights"].to(self.device, non_blocking=True)
        with autocast(self.device, self.config.amp):
            heatmaps = self.model(images)
        loss = heatmap_loss(heatmaps, self.codec.encode(joints, weights), weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()

        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        value, size = torch.stack([loss.detach(), norm]).tolist()
        self.steps += 1
        if not (math.isfinite(value) and math.isfinite(size)):
            self.skipped += 1
            _copy(self._buffers, self._good_buffers)
            return math.nan
        if self.config.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self.config.clip, norm)
        self.optimizer.step()
        _copy(self._good_buffers, self._buffers)
        if self.average is not None:
            self._follow()
        return float(value)

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on the average forgets faster, or it would hold the initial weights for long.
        done = self.steps - self.skipped
        decay = min(self.config.ema, (1 + done) / (10 + done))
        assert self.average is not None
        current = self.model.state_dict()
        for name, tensor in self.average.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(current[name], 1.0 - decay)
            else:
                tensor.copy_(current[name])

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if nothing had happened."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "skipped": self.skipped,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what `state` returned.

        Raises:
            InputError: the state is of another architecture.
        """
        check_architecture("resume: the training state", state["model"], self.model)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            # A moving average that is switched on by the resume starts at the weights.
            self.average.load_state_dict(state["average"] or state["model"])
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        # The configuration's, which may be new: loading brings the stored ones back.
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        self.steps, self.skipped = state["steps"], state["skipped"]
        torch.set_rng_state(state["rng"])
        _copy(self._good_buffers, self._buffers)


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
