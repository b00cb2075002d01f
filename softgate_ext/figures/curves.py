"""The learning curve of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from softgate_ext.errors import InputError
from softgate_ext.figures.style import BLUE, GREY, ORANGE, save
from softgate_ext.runs.log import Entry


def learning_curve(entries: Sequence[Entry], path: Path, baseline: float | None = None) -> None:
    """Plots the loss and the score on the watched samples by epoch, as PNG.

    Args:
        entries: the log of a run.
        path: the PNG file.
        baseline: the score of the constant mean pose in percent, drawn as a line.

    Raises:
        InputError: the log is empty, or the file cannot be written.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    draw_learning_curve(figure, entries, baseline)
    save(figure, path)


def draw_learning_curve(
    figure: FigureBase, entries: Sequence[Entry], baseline: float | None = None
) -> None:
    """As `learning_curve`, drawn into a given figure."""
    if not entries:
        raise InputError("entries: the log is empty; train at least one epoch")
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, [(e["epoch"], e["loss"]) for e in entries], color=BLUE)
    loss.set(xlabel="epoch", ylabel="training loss")
    seen = [e for e in entries if e.get("watched")]
    metric = seen[-1]["watched"]["metric"] if seen else "measured"
    main = "AP" if seen and "AP" in seen[-1]["watched"] else "all joints pooled"
    # The second line is dashed and its dots are smaller, so that both are visible where they coincide:
    # the means are equal if every joint is labelled equally often.
    for key, colour, dashes, size, name in (
        ("main", BLUE, "-", 9, main),
        ("mean", ORANGE, "--", 5, "plain mean of joints"),
    ):
        points = [(e["epoch"], e["watched"][key]) for e in seen]
        _curve(accuracy, points, linestyle=dashes, markersize=size, color=colour, label=name)
    if baseline is not None:
        accuracy.axhline(baseline, color=GREY, linestyle=":", label="constant mean pose")
    accuracy.set(xlabel="epoch", ylabel=f"{metric}, watched samples (%)")
    # From 0 where the baseline is seen; a training that goes on from good weights has a range of its own.
    low = min((e["watched"][key] for e in seen for key in ("main", "mean")), default=0)
    accuracy.set_ylim((max(0, low - 5), 100) if low > 50 else (0, 100))
    accuracy.legend(frameon=False, loc="upper left")
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)


def _curve(axes: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    """Draws a line through the points, or a dot if there is a single point."""
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    axes.plot(epochs, values, marker="o" if len(points) == 1 else "", **style)
