"""The numbers of parameters and multiply-accumulates (MACs) of the models: `softgate profile`.

A MAC is one multiplication and one addition in a convolution or matrix product. Norms, gates and
other additions are not counted, as is usual. PyTorch's counter counts on the meta device, where only
shapes are propagated and nothing is computed.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Column, Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from softgate_ext.errors import InputError
from softgate_ext.models.base import PoseModel
from softgate_ext.models.registry import create_model, list_models
from softgate_ext.ops.backend import use_backend

BASELINE = "hourglass_8x256"


@dataclass(frozen=True)
class Cost:
    """Size of a model or a part of it.

    Attributes:
        parameters: number of learnable values.
        macs: number of multiply-accumulates for one image.
    """

    parameters: int
    macs: int


@dataclass(frozen=True)
class Profile:
    """The cost of a model, and that of its parts by name. The parts add up to the total."""

    total: Cost
    parts: dict[str, Cost]


def profile(model: nn.Module, image_size: int = 256) -> Profile:
    """Counts parameters and MACs of a model for one square image.

    Args:
        model: a network that takes images (N, 3, S, S); it is not changed.
        image_size: S in pixels.

    Raises:
        InputError: the model does not take images of that size.
    """
    if image_size < 1:
        raise InputError(f"image_size must be at least 1, got {image_size}")
    if isinstance(model, PoseModel):
        model.check_image_size(image_size)
    # In training mode a batch norm would refuse a map of one pixel, as a small image may lead to.
    model = copy.deepcopy(model).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), use_backend("reference"):
        model(torch.empty(1, 3, image_size, image_size, device="meta"))
    counted = counter.get_flop_counts()

    def cost(part: nn.Module, name: str) -> Cost:
        # The counter counts a multiplication and an addition as two operations.
        macs = sum(counted.get(name, {}).values()) // 2
        return Cost(sum(p.numel() for p in part.parameters()), macs)

    kind = type(model).__name__  # the counter puts it before the names of the model's parts
    parts = {name: cost(part, f"{kind}.{name}") for name, part in _parts(model)}
    return Profile(cost(model, kind), parts)


def print_profile(
    names: Sequence[str] = (), image_size: int = 256, console: Console | None = None
) -> None:
    """Prints a table of models beside the hourglass baseline, and each named model by its parts.

    Args:
        names: the models to print; without names, all registered models, without their parts.
        image_size: side of the square image in pixels.
        console: where to print; None for standard output.

    Raises:
        InputError: a name is unknown or the size is impossible. Nothing is printed then.
    """
    console = console or Console()
    with torch.device("meta"):
        models = {name: create_model(name) for name in [*(names or list_models()), BASELINE]}
    profiles = {name: profile(model, image_size) for name, model in models.items()}
    baseline = profiles[BASELINE].total
    headings = ("parameters", "x fewer", "GMAC", "x fewer")
    table = Table(
        "model",
        *(Column(heading, justify="right") for heading in headings),
        title=f"Models, one {image_size} x {image_size} image",
        caption=f"x fewer: than {BASELINE}",
    )
    for name, result in profiles.items():
        total = result.total
        table.add_row(
            name,
            f"{total.parameters:,}",
            f"{baseline.parameters / total.parameters:.2f}",
            f"{total.macs / 1e9:.3f}",
            f"{baseline.macs / total.macs:.2f}",
        )
    console.print(table)
    for name in names:
        console.print(_parts_table(name, profiles[name]))


def _parts_table(name: str, result: Profile) -> Table:
    figures = (Column(heading, justify="right") for heading in ("parameters", "GMAC"))
    table = Table("part", *figures, title=name)
    for part, cost in result.parts.items():
        table.add_row(part, f"{cost.parameters:,}", f"{cost.macs / 1e9:.3f}")
    table.add_section()
    table.add_row("total", f"{result.total.parameters:,}", f"{result.total.macs / 1e9:.3f}")
    return table


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{index}", part) for index, part in enumerate(child))
        else:
            yield name, child
