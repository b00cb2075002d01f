"""One training step (forward, loss, backward, update), and the state that a resume restores."""

import inspect
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from softgate_ext.inference.device import autocast, in_bf16
from softgate_ext.inference.pose_inference import to_input
from softgate_ext.models import PoseModel
from softgate_ext.models.architecture import check_architecture
from softgate_ext.nn import SyncBatchNorm2d, use_conv
from softgate_ext.nn.convolution import is_faster_in
from softgate_ext.pose.codec import PoseCodec
from softgate_ext.ranges import check_range
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.loss import pose_loss
from softgate_ext.training.processes import Group

Tensors = Sequence[Tensor]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """RMSprop or AdamW, with weight decay for tensors of two or more dimensions (convolutions) only."""
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

    A step whose loss or gradient is not finite is skipped: it changes no weights and no running
    statistics. With several processes, all of them make each step together, each with its share of
    the batch.

    Attributes:
        channels_last: whether activations are in channels_last.
        model: the network, without the wrappers of DistributedDataParallel and `torch.compile`.
        evaluated: the network to evaluate and store: the moving average, or `model` without one.
        steps, skipped: number of steps so far, and how many of them were skipped.
    """

    def __init__(
        self, model: PoseModel, codec: PoseCodec, config: TrainConfig, group: Group
    ) -> None:
        self.codec, self.config, self.group = codec, config, group
        self.device = group.device
        self.model = model.to(self.device)
        stored = torch.bfloat16 if in_bf16(self.device, config.amp) else torch.float32
        faster = self.device.type == "cpu" and is_faster_in(stored)
        winograd = config.conv == "winograd" and faster
        use_conv(self.model, "winograd" if winograd else "direct")
        self.channels_last = config.channels_last or winograd
        if self.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None
        self.evaluated = self.model
        if config.ema:
            self.average = AveragedModel(self.model, multi_avg_fn=self._follow, use_buffers=True)
            self.evaluated = cast(PoseModel, self.average.module.requires_grad_(False))
        if config.sync_bn:
            SyncBatchNorm2d.convert(self.model)
        self.optimizer = make_optimizer(self.model, config)
        self.steps = 0
        self.skipped = 0
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._buffers = list(self.model.buffers())
        self._good_buffers = [buffer.clone() for buffer in self._buffers]
        self._parallel: DistributedDataParallel | None = None
        if group.size > 1:
            # Buffers are not synchronised in each forward pass: `share_statistics` does so once an
            # epoch. The oldest supported PyTorch knows the option by its old name only.
            known = inspect.signature(DistributedDataParallel).parameters
            new, old = "forward_sync_buffers", "broadcast_buffers"
            self._parallel = DistributedDataParallel(
                self.model,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                **{new if new in known else old: False},  # type: ignore[arg-type]
            )
        self._call = cast(nn.Module, self._parallel or self.model)
        if config.compile:
            self._call = cast(nn.Module, torch.compile(self._call))

    def step(self, batch: dict[str, Tensor], factor: float) -> float:
        """One update at `factor` times the learning rate.

        Args:
            batch: this process's share: "image" (B, 3, S, S) uint8, "joints" (B, J, 2) in pixels and
                "weights" (B, J), with B at least `accumulate`.
            factor: the learning rate divided by `config.lr`.

        Returns:
            The loss over the batches of all processes, NaN if the step was skipped.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        value, size = torch.stack([loss, norm]).tolist()
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
            self.average.update_parameters(self.model)
        return float(value)

    def _backward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss over the batches of all processes; its gradient is stored in the parameters."""
        images = to_input(batch["image"], self.device, self.channels_last)
        joints = batch["joints"].to(self.device, non_blocking=True)
        weights = batch["weights"].to(self.device, non_blocking=True)
        targets = self.codec.encode(joints, weights)
        # DistributedDataParallel averages the gradients over the processes, so each process divides
        # its loss by the average count of labelled joints.
        count = self.group.total(weights.sum()) / self.group.size
        loss = torch.zeros((), device=self.device)
        chunks = [t.tensor_split(self.config.accumulate) for t in (images, targets, weights)]
        for index, (image, target, weight) in enumerate(zip(*chunks, strict=True), 1):
            last, parallel = index == self.config.accumulate, self._parallel
            with nullcontext() if last or parallel is None else parallel.no_sync():
                with autocast(self.device, self.config.amp):
                    outputs = self._call(image)
                part = pose_loss(outputs, target, weight, count)
                part.backward()
            loss += part.detach()
        return self.group.total(loss) / self.group.size

    @torch.no_grad()
    def _follow(self, averages: Tensors, current: Tensors, _: object) -> None:
        # The decay starts low and rises to `ema`, so that the first weights are forgotten soon.
        done = self.steps - self.skipped
        share = 1.0 - min(self.config.ema, done / (9 + done))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(current), share)
        else:
            _copy(averages, current)

    def share_statistics(self) -> None:
        """Sets the running statistics of all processes to their mean over the processes."""
        if self.group.size == 1 or self.config.sync_bn:
            return
        averaged = [] if self.average is None else [*self.evaluated.buffers()]
        statistics = [b for b in [*self._buffers, *averaged] if b.is_floating_point()]
        mean = self.group.total(torch.cat([b.flatten() for b in statistics])) / self.group.size
        parts = mean.split([b.numel() for b in statistics])
        _copy(statistics, [m.view_as(b) for m, b in zip(parts, statistics, strict=True)])
        _copy(self._good_buffers, self._buffers)

    def state(self) -> dict[str, Any]:
        """The state from which `restore` continues with the same bits."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.evaluated.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "skipped": self.skipped,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what `state` returned.

        Raises:
            InputError: the state is of another architecture.
            LookupError, TypeError, ValueError, RuntimeError: it is no state of a learner.
        """
        check_architecture("resume: the training state", state["model"], self.model)
        self.model.load_state_dict(state["model"])
        for name in ("steps", "skipped"):
            check_range(name, state[name], "resume: the training state: ")
        self.steps, self.skipped = state["steps"], state["skipped"]
        if not isinstance(state["average"], dict | None):
            raise TypeError(f"the average is {type(state['average']).__name__}")
        if self.average is not None:
            # If the resume switches the moving average on, it starts at the current weights.
            self.evaluated.load_state_dict(state["average"] or state["model"])
            self.average.n_averaged.fill_(self.steps - self.skipped if state["average"] else 0)
        self._restore_optimizer(state["optimizer"])
        torch.set_rng_state(state["rng"])
        _copy(self._good_buffers, self._buffers)

    def _restore_optimizer(self, state: dict[str, Any]) -> None:
        own = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self.optimizer.param_groups
        ]
        self.optimizer.load_state_dict(state)
        # The configuration's options: loading brings the stored ones, which a file may hold anything in.
        for group, options in zip(self.optimizer.param_groups, own, strict=True):
            group.update(options)
        names = _state_names(type(self.optimizer))
        count = sum(len(group["params"]) for group in self.optimizer.param_groups)
        if len(self.optimizer.state) != (count if self.steps > self.skipped else 0):
            raise ValueError(f"the optimizer has values of {len(self.optimizer.state)} parameters")
        for parameter, values in self.optimizer.state.items():
            if values.keys() != names:
                raise ValueError(f"the optimizer's values are {[*values]}")
            for name, value in values.items():
                if value.shape != (() if name == "step" else parameter.shape):
                    raise ValueError(f"{name} has the shape {[*value.shape]}")
                least = 0 if name in ("step", "exp_avg_sq", "square_avg") else -math.inf
                if not torch.isfinite(value).all() or (value < least).any():
                    raise ValueError(f"{name} has values that no training leaves")


def _state_names(kind: type[torch.optim.Optimizer]) -> set[str]:
    """What an optimizer keeps for each parameter."""
    probe = nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    optimizer = kind([probe])  # type: ignore[call-arg]
    optimizer.step()
    return {*optimizer.state[probe]}


@torch.no_grad()
def _copy(targets: Tensors, sources: Tensors) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
