"""The plot of a study: one row per variant, one dot per seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from softgate_ext.figures.style import BLUE, ORANGE, save


def study_plot(figures: Mapping[str, Sequence[float]], metric: str, title: str, path: Path) -> None:
    """Plots the score of each run by variant, with the range as a line and the mean as a bar, as PNG.

    Args:
        figures: for each variant the score of each seed, in percent; may be empty.
        metric: name of the metric.
        title: title of the plot.
        path: the PNG file.

    Raises:
        InputError: the file cannot be written.
    """
    figure = Figure(figsize=(7, 1.3 + 0.4 * len(figures)), layout="constrained")
    axes = figure.subplots()
    for at, values in enumerate(figures.values()):
        if values:
            axes.hlines(at, min(values), max(values), color=BLUE, alpha=0.4)
            axes.plot(values, [at] * len(values), "o", color=BLUE)
            axes.plot(sum(values) / len(values), at, "|", color=ORANGE, markersize=18)
    axes.set_yticks(range(len(figures)), list(figures))
    axes.set_ylim(len(figures) - 0.5, -0.5)
    axes.set_xlabel(f"{metric} of each run, and their mean (%)")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    save(figure, path)
