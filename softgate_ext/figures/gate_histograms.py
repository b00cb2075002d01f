"""Histograms of a network's gates by depth."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.figures.style import BLUE, GREY, ORANGE, save
from softgate_ext.files.counted import counted


def gate_histograms(gates: Mapping[str, Tensor], path: Path, bins: int = 41) -> None:
    """Plots the distribution of the gates of each block as PNG, one row per block, by depth.

    The shade shows the share of a block's gates in each bin.

    Args:
        gates: the gates by the name of their block, from the image to the heatmaps.
        path: the PNG file.
        bins: number of bins of the histogram.

    Raises:
        InputError: there are no gates, or the file cannot be written.
    """
    figure = Figure(figsize=(9, 1.6 + 0.16 * len(gates)), layout="constrained")
    draw_gate_histograms(figure, gates, bins)
    save(figure, path)


def draw_gate_histograms(figure: FigureBase, gates: Mapping[str, Tensor], bins: int = 41) -> None:
    """As `gate_histograms`, drawn into a given figure."""
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
    total.set(xlabel="gate", ylabel="gates", title=f"all {counted(everything.size, 'gate[s]')}")
    for axes in (rows, total):
        for at in (0.0, 1.0):  # a closed gate, and a plain residual connection
            if low < at < high:
                axes.axvline(at, color=GREY, linewidth=0.8, linestyle=":")
    total.spines[["top", "right"]].set_visible(False)
