"""Pictures of a run: learning curve, gates by depth, sheets of drawn people.

The functions that start with `draw` fill a figure, or a part of one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from softgate_ext.engine.files import replacing, write_bytes
from softgate_ext.engine.log import Entry
from softgate_ext.errors import InputError
from softgate_ext.pose.draw import contact_sheet

BLUE, ORANGE, GREY = "#2563a8", "#d9730d", "#8a8a8a"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, at once."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def learning_curve(entries: Sequence[Entry], path: Path, baseline: float | None = None) -> None:
    """Loss and PCK@0.2 by epoch, as PNG.

    Args:
        entries: the log of a run.
        path: the picture.
        baseline: PCK@0.2 (pooled, percent) of the constant mean pose, drawn as a line.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    draw_learning_curve(figure, entries, baseline)
    save(figure, path)


def draw_learning_curve(
    figure: FigureBase, entries: Sequence[Entry], baseline: float | None = None
) -> None:
    """As `learning_curve`."""
    if not entries:
        raise InputError("entries: the log is empty; train at least one epoch")
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, [(e["epoch"], e["loss"]) for e in entries], color=BLUE)
    loss.set(xlabel="epoch", ylabel="training loss")
    seen = [e for e in entries if e.get("pck")]
    # Dashes in it, and a dot within a dot: the two means are one where every joint is labelled
    # equally often.
    for key, colour, dashes, size, name in (
        ("pooled", BLUE, "-", 9, "all joints pooled"),
        ("mean", ORANGE, "--", 5, "plain mean of joints"),
    ):
        points = [(e["epoch"], e["pck"][key]) for e in seen]
        _curve(accuracy, points, linestyle=dashes, markersize=size, color=colour, label=name)
    if baseline is not None:
        accuracy.axhline(baseline, color=GREY, linestyle=":", label="constant mean pose")
    accuracy.set(xlabel="epoch", ylabel="PCK@0.2, watched people (%)", ylim=(0, 100))
    accuracy.legend(frameon=False, loc="upper left")
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)


def _curve(axes: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    """A line through the points; a single one, through which there is no line, as a dot."""
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    axes.plot(epochs, values, marker="o" if len(points) == 1 else "", **style)


def gate_histograms(gates: Mapping[str, Tensor], path: Path, bins: int = 41) -> None:
    """Where the gates of each block lie: a row a block in order of depth, shade by share, as PNG.

    Args:
        gates: block name -> the values of its gates, from the image to the heatmaps.
        path: the picture.
        bins: columns of the histogram.
    """
    figure = Figure(figsize=(9, 1.6 + 0.16 * len(gates)), layout="constrained")
    draw_gate_histograms(figure, gates, bins)
    save(figure, path)


def draw_gate_histograms(figure: FigureBase, gates: Mapping[str, Tensor], bins: int = 41) -> None:
    """As `gate_histograms`."""
    values = {name: alpha.detach().float().cpu().numpy().ravel() for name, alpha in gates.items()}
    values = {name: alpha for name, alpha in values.items() if alpha.size}
    if not values:
        raise InputError("gates: the network has none; use gate='channel' or gate='block'")
    everything = np.concatenate(list(values.values()))
    low, high = min(0.0, float(everything.min())), max(0.0, float(everything.max()))
    margin = 0.05 * (high - low) + 1e-3
    low, high = low - margin, high + margin
    edges = np.linspace(low, high, bins + 1)
    shares = np.stack([np.histogram(alpha, edges)[0] / alpha.size for alpha in values.values()])

    rows, total = figure.subplots(1, 2, width_ratios=[2, 1])
    image = rows.imshow(
        shares, aspect="auto", cmap="Blues", vmin=0, extent=(low, high, len(values) - 0.5, -0.5)
    )
    rows.plot(
        [np.median(alpha) for alpha in values.values()], range(len(values)), ".", color=ORANGE
    )
    rows.set_yticks(range(len(values)), list(values), fontsize=6)
    rows.set(xlabel="gate (dot: median of the block)", ylabel="block, from input to output")
    figure.colorbar(image, ax=rows, label="share of the block's gates")
    total.hist(everything, edges.tolist(), color=BLUE)
    total.set(xlabel="gate", ylabel="gates", title=f"all {everything.size} gates")
    for axes in (rows, total):
        for at in (0.0, 1.0):  # closed, and a plain residual connection
            if low < at < high:
                axes.axvline(at, color=GREY, linewidth=0.8, linestyle=":")
    total.spines[["top", "right"]].set_visible(False)


def overlay_sheet(pictures: Sequence[np.ndarray], path: Path, columns: int = 6) -> None:
    """Drawn people (uint8, H x W x 3, RGB) side by side, as PNG."""
    write_png(path, contact_sheet(list(pictures), columns))


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a uint8 H x W x 3 RGB picture as PNG, at once."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV encodes any uint8 picture as PNG"
    write_bytes(path, data.tobytes())
