"""The benchmark cases of `SoftGatedBlock` with its convolutions and of whole training steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import LAYOUTS, MAIN, OpInputs
from benchmarks.ideal import PHASES, Size
from benchmarks.peers import PEERS
from benchmarks.race import FUSED, Competitor
from softgate_ext.models import create_model
from softgate_ext.models.profile import profile
from softgate_ext.nn import Conv, SoftGatedBlock, WinogradConv2d, use_conv
from softgate_ext.pose.codec import HeatmapCodec

JOINTS = 16


@dataclass(frozen=True)
class BlockCase:
    """`SoftGatedBlock` in one phase. With bfloat16, the weights are float32 under autocast."""

    phase: str
    layout: str = "contiguous"
    dtype: str = "float32"
    size: Size = MAIN
    device: str = "cpu"

    def __str__(self) -> str:
        size = "x".join(map(str, self.size))
        return f"block-{self.phase}-{size}-{self.layout}-{self.dtype}-{self.device}"


@dataclass(frozen=True)
class NetworkCase:
    """A training step of a network: forward, loss, backward, update. `amp` is as in TrainConfig."""

    model: str
    image_size: int
    batch_size: int
    layout: str = "contiguous"
    amp: str = "off"
    device: str = "cpu"

    def __str__(self) -> str:
        size = f"{self.batch_size}x{self.image_size}px"
        return f"step-{self.model}-{size}-{self.layout}-amp_{self.amp}-{self.device}"


def block_cases(device: str, quick: bool) -> Iterator[BlockCase]:
    kinds = list(product(LAYOUTS, ("float32", "bfloat16")))
    for (layout, dtype), phase in product(kinds[::3] if quick else kinds, PHASES):
        yield BlockCase(phase, layout, dtype, (2, 16, 8, 8) if quick else MAIN, device)


def network_cases(device: str, quick: bool) -> Iterator[NetworkCase]:
    if quick:
        yield NetworkCase("hybrid_1x32", 64, 2, device=device)
        return
    for layout, amp in product(LAYOUTS, ("off", "bf16")):
        yield NetworkCase("hybrid_2x48", 128, 16, layout, amp, device)
        yield NetworkCase("hybrid_4x144", 256, 4, layout, amp, device)


def make_block(case: BlockCase, sets: int) -> tuple[Callable[..., Any], list[OpInputs]]:
    """Returns the block as a function of its input, and input sets.

    The parameters of the block are among the leaves, since their gradients are computed too.
    """
    torch.manual_seed(0)
    layout, channels = LAYOUTS[case.layout], case.size[1]
    block = SoftGatedBlock(channels, channels, alpha_init=0.5).to(case.device)
    block = block.to(memory_format=layout).train(case.phase != "inference")  # type: ignore[call-overload]
    half = case.dtype != "float32"
    dtype = getattr(torch, case.dtype)

    def activation() -> torch.Tensor:
        t = torch.randn(case.size, device=case.device, dtype=dtype)
        return t.contiguous(memory_format=layout)

    def function(x: torch.Tensor) -> Any:
        with torch.autocast(case.device, torch.bfloat16, enabled=half):
            return block(x)

    inputs = []
    for _ in range(sets):
        x = activation().requires_grad_(block.training)
        inputs.append(OpInputs((x,), (x, *block.parameters()), (activation(),)))
    return function, inputs


def training_steps(case: NetworkCase, names: Sequence[str]) -> Iterator[Competitor]:
    """Yields the competitors of a training step. They share one learner and one random batch.

    Where the fused step convolves by Winograd's algorithm, a further competitor "direct" is the
    fused step without it.
    """
    # Imported here, since the ops are also measured where the packages for training are missing.
    from softgate_ext.runs.train_config import TrainConfig
    from softgate_ext.training.learner import Learner
    from softgate_ext.training.processes import Group

    config = TrainConfig(
        Path(),
        Path(),
        model=case.model,
        image_size=case.image_size,
        batch_size=case.batch_size,
        amp=case.amp,
        channels_last=case.layout == "channels_last",
        # Winograd serves channels_last only.
        conv="winograd" if case.layout == "channels_last" else "direct",
        device=case.device,
    )
    torch.manual_seed(config.seed)
    codec = HeatmapCodec(case.image_size, case.image_size // 4, config.sigma)
    model = create_model(case.model, joints=JOINTS)
    learner = Learner(model, codec, config, Group(torch.device(case.device)))
    batch = {
        "image": torch.randint(
            0, 256, (case.batch_size, 3, case.image_size, case.image_size), dtype=torch.uint8
        ),
        "joints": torch.rand(case.batch_size, JOINTS, 2) * case.image_size,
        "weights": torch.ones(case.batch_size, JOINTS),
    }

    def step(_: int) -> float:
        return learner.step(batch, 1e-3)

    def convolving(conv: Conv) -> Callable[[int], int]:
        """Sets how the next step computes convolutions. The time of this is not measured."""

        def prepare(index: int) -> int:
            use_conv(learner.model, conv)
            return index

        return prepare

    own: Conv = (
        "winograd" if any(isinstance(m, WinogradConv2d) for m in model.modules()) else "direct"
    )
    for name in names:
        peer = PEERS[name]
        facts = {"backend": peer.backend, "conv": own if name == FUSED else "direct"}
        yield Competitor(
            name,
            step,
            convolving(facts["conv"]),
            facts=facts,
            backend=peer.backend,
            variant=peer.variant,
        )
    if own == "winograd":  # shows how much of the gain comes from the convolutions
        facts = {"backend": PEERS[FUSED].backend, "conv": "direct"}
        yield Competitor("direct", step, convolving("direct"), facts=facts)


def network_cost(case: NetworkCase) -> dict[str, int]:
    """The number of parameters, and of multiply-accumulates in the forward pass of one image."""
    total = profile(create_model(case.model, joints=JOINTS), case.image_size).total
    return {"parameters": total.parameters, "macs": total.macs}
