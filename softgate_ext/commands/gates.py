"""The gates of a run: how far each skip connection is open, by block and by depth."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor, nn

from softgate_ext.commands.gates_config import GatesConfig
from softgate_ext.data.formats import recognise
from softgate_ext.data.outside import outside_as_told
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.figures.gate_histograms import gate_histograms
from softgate_ext.files.atomic import write_json
from softgate_ext.files.console import say
from softgate_ext.files.counted import counted
from softgate_ext.files.folders import check_folder, check_outside, check_targets, make_folder
from softgate_ext.files.tensors import save_tensors
from softgate_ext.inference.device import resolve_device
from softgate_ext.models.base import PoseModel
from softgate_ext.ranges import check_ranges
from softgate_ext.runs.checkpoint import save_config
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.places import FILES, WEIGHTS
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.training.timing import time_forward

TIMED = 8  # images in a forward pass whose time is taken


@dataclass(frozen=True)
class Gates:
    """The gates of one block, or of all blocks of one depth.

    Attributes:
        name: the block, or the depth.
        stride: pixels of the image for one of the activations that the gates scale; 4 where the
            heatmaps are, twice as many at each level further down.
        values: (C,), or (1,) of a block with one gate.
    """

    name: str
    stride: int
    values: npt.NDArray[np.float32]

    def closed(self, eps: float) -> int:
        """How many are of a smaller magnitude than `eps`."""
        return int((np.abs(self.values) < eps).sum())

    def to_json(self, eps: float, edges: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Figures and the counts of a histogram with the given edges."""
        return {
            "name": self.name,
            "stride": self.stride,
            "gates": int(self.values.size),
            "closed": self.closed(eps),
            **{key: round(float(f(self.values)), 6) for key, f in _FIGURES.items()},
            "histogram": np.histogram(self.values, edges)[0].tolist(),
        }


_FIGURES = {name: getattr(np, name) for name in ("mean", "median", "min", "max")}


def gates_of(model: PoseModel, image_size: int) -> list[Gates]:
    """The gates of each block, from the image to the heatmaps.

    Raises:
        InputError: the network has none.
    """
    values = model.gates()
    if not values:
        raise InputError("gates: the network has none; train one with gate='channel' or 'block'")
    sides = _sides(model, values, image_size)
    return [
        Gates(
            name,
            round(model.seen_side(name, image_size) / sides[name]),
            alpha.float().cpu().numpy().ravel(),
        )
        for name, alpha in values.items()
    ]


def by_depth(blocks: Sequence[Gates]) -> list[Gates]:
    """The gates of all blocks that work at the same resolution, the highest first."""
    return [
        Gates(
            "all blocks", stride, np.concatenate([b.values for b in blocks if b.stride == stride])
        )
        for stride in sorted({block.stride for block in blocks})
    ]


def prune(model: PoseModel, eps: float) -> int:
    """Sets the gates of a smaller magnitude than `eps` to exactly 0; returns how many."""
    closed = 0
    for alpha in model.gates().values():
        small = alpha.abs() < eps
        alpha[small] = 0.0
        closed += int(small.sum())
    return closed


@outside_as_told
def show_gates(config: GatesConfig, console: Console | None = None) -> dict[str, Any]:
    """What `softgate gates` prints and writes; returns the numbers.

    Raises:
        InputError: the run or the data cannot be used, an option is out of range, or `out` holds
            a run already; then nothing is written.
    """
    _check(config)
    console = console or Console()
    device = resolve_device(config.device)
    model, stored, about = load_run(config.run, config.weights)
    blocks = gates_of(model, stored.image_size)
    depths = by_depth(blocks)
    accuracy: dict[str, float] = {}
    if config.data is not None:  # before anything is written, since it looks at all of the data
        accuracy["before"] = _accuracy(config, config.run, config.weights)
    everything = np.concatenate([block.values for block in blocks])
    edges = np.histogram_bin_edges(everything.astype(np.float64), 40)
    figures: dict[str, Any] = {
        "run": str(config.run),
        "weights": config.weights,
        "eps": config.eps,
        "gates": int(everything.size),
        "closed": sum(block.closed(config.eps) for block in blocks),
        "edges": [round(float(edge), 6) for edge in edges],
        "blocks": [block.to_json(config.eps, edges) for block in blocks],
        "depths": [depth.to_json(config.eps, edges) for depth in depths],
    }
    console.print(_table(blocks, depths, config.eps))
    console.print(
        counted(
            figures["closed"],
            f"gate[s] of {figures['gates']} ({figures['closed'] / figures['gates']:.1%}) [is|are] nearly "
            "closed",
        )
        + f", |alpha| < {config.eps:g}"
    )
    if config.png is not None:
        for path, rows in zip(_pictures(config.png), (blocks, depths), strict=True):
            named = {f"{row.name}  1/{row.stride}": torch.from_numpy(row.values) for row in rows}
            gate_histograms(named, path)
            say(console, str(path))
    if config.prune is not None:
        pruned, _, _ = load_run(config.run, config.weights)
        figures["pruned"] = _prune_run(
            config, (model.to(device), pruned.to(device)), stored, about, accuracy, console
        )
    if config.json is not None:
        write_json(config.json, figures)
        say(console, str(config.json))
    return figures


def _check(config: GatesConfig) -> None:
    check_ranges(config)
    if (config.prune is None) != (config.out is None):
        raise InputError("prune and out: got one of them; a pruned run needs both")
    if config.data is not None and config.prune is None:
        raise InputError(
            "data: got it without prune; it measures a pruned run, so give prune and out, or use `softgate evaluate`"
        )
    for name in ("train_folder", "test_folder"):
        if getattr(config, name) is not None and config.data is None:
            raise InputError(f"{name}: got it without data, which it is a part of; give data too")
    if config.out is not None:
        if any((config.out / name).exists() for name in FILES):
            raise InputError(f"out: {config.out} holds a run already; give another folder")
        check_folder(config.out)
        if config.data is not None:
            recognise(config.data, "data", config.train_folder, config.test_folder)
            check_outside(config.out, config.data)
    for picture in (None,) if config.png is None else _pictures(config.png):
        check_targets(png=picture, json=config.json)


def _pictures(png: Path) -> tuple[Path, Path]:
    """Where the gates are drawn, by block and by depth."""
    return png, png.with_stem(f"{png.stem}_by_depth")


def _prune_run(
    config: GatesConfig,
    models: tuple[PoseModel, PoseModel],
    stored: RunConfig,
    about: dict[str, Any],
    accuracy: dict[str, float],
    console: Console,
) -> dict[str, Any]:
    """Writes the pruned run, and measures it beside the one it comes from.

    `models` are two of the same network, of which the second is pruned; `accuracy` holds what was
    measured of the first, if it was.
    """
    assert config.prune is not None and config.out is not None
    model, pruned = models
    count = prune(pruned, config.prune)
    make_folder(config.out)
    save_tensors(
        config.out / WEIGHTS["last"], pruned.state_dict(), {**about, "pruned": config.prune}
    )
    save_config(config.out, stored)
    if config.data is not None:
        accuracy["after"] = _accuracy(config, config.out, "last")
    device = next(model.parameters()).device
    images = torch.rand(TIMED, 3, stored.image_size, stored.image_size, device=device)
    if stored.training.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    seconds = time_forward({"before": model, "after": pruned}, images)
    total = sum(alpha.numel() for alpha in pruned.gates().values())
    console.print(f"{counted(count, f'gate[s] of {total}')} set to 0, |alpha| < {config.prune:g}")
    times = (Column(when, justify="right") for when in seconds)
    table = Table("", *times, box=None, padding=(0, 2, 0, 0))
    if accuracy:
        table.add_row("weighted mean", *(f"{value:.2f}" for value in accuracy.values()))
    table.add_row(f"ms for {TIMED} images", *(f"{1000 * time:.1f}" for time in seconds.values()))
    console.print(table)
    say(console, str(config.out))
    return {
        "eps": config.prune,
        "out": str(config.out),
        "closed": count,
        "pck": accuracy,
        "images": TIMED,
        "seconds": seconds,
    }


def _accuracy(config: GatesConfig, run: Any, weights: Any) -> float:
    """Main figure of the dataset's own metric on its test part, percent."""
    assert config.data is not None
    asked = EvalConfig(
        run,
        config.data,
        train_folder=config.train_folder,
        test_folder=config.test_folder,
        weights=weights,
        device=config.device,
        workers=0,
    )
    return evaluate(asked).scores["network"].main


def _sides(model: nn.Module, names: Iterable[str], image_size: int) -> dict[str, int]:
    """Width of the activations in each block, seen at its first 3x3 convolution."""
    sides: dict[str, int] = {}

    def watch(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        sides[name] = output.shape[-1]

    with ExitStack() as hooks, torch.inference_mode():
        for name in names:
            parts = model.get_submodule(name).modules()
            first = next(part for part in parts if isinstance(part, nn.Conv2d))
            hooks.enter_context(first.register_forward_hook(partial(watch, name)))
        model(next(model.parameters()).new_zeros(1, 3, image_size, image_size))
    return sides


def _table(blocks: Sequence[Gates], depths: Sequence[Gates], eps: float) -> Table:
    # As narrow as a terminal of 80 columns, where a name of a block takes 34.
    names = ("at", "gates", "median", "min", "max", "closed")
    columns = (Column(name, justify="right") for name in names)
    table = Table("block", *columns, box=None, padding=(0, 1, 0, 0))
    for rows in (blocks, depths):
        for row in rows:
            figures = (f"{_FIGURES[name](row.values):+.3f}" for name in ("median", "min", "max"))
            closed = row.closed(eps)
            share = f"{closed} ({closed / row.values.size:.0%})"
            table.add_row(row.name, f"1/{row.stride}", str(row.values.size), *figures, share)
        table.add_row()
    return table
