"""Plots the times of the competitors against the time of a copy, for all cases of the ops."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softgate_ext.files.atomic import replacing

MARKS = {
    "fused": ("o", "#2563a8"),
    "triton": ("D", "#0f8a7e"),
    "eager": ("s", "#8a8a8a"),
    "compile": ("^", "#d9730d"),
    "compile-max": ("v", "#b0452c"),
}


def plot_races(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws a PNG with one panel per device, layout and dtype, and one row per case.

    Times are divided by the time of the copy.

    Args:
        records: the records of the ops in the result file.
        path: the file to write.
    """
    panels: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        key = tuple(record[k] for k in ("device", "layout", "dtype"))
        panels.setdefault(key, []).append(record)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    longest = max(map(len, panels.values()))
    figure = Figure(figsize=(7.5 * columns, rows * (1.3 + 0.19 * longest)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (key, cases) in zip(grid, panels.items(), strict=False):
        _panel(axes, cases)
        axes.set_title(", ".join(key), loc="left", fontsize=10)
    for axes in grid[len(panels) :]:
        axes.remove()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _panel(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    copies = [c["competitors"]["copy"]["median"] for c in cases]
    places = range(len(cases))
    for name, (mark, colour) in MARKS.items():
        there = [i for i in places if name in cases[i]["competitors"]]
        if not there:
            continue
        sides = [cases[i]["competitors"][name] for i in there]
        spread = {k: [s[k] / copies[i] for i, s in zip(there, sides, strict=True)]
                  for k in ("p20", "median", "p80")}  # fmt: skip
        axes.hlines(there, spread["p20"], spread["p80"], color=colour, linewidth=1)
        axes.plot(spread["median"], there, mark, color=colour, markersize=5, label=name)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100) if t <= 1.3 * axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.minorticks_off()
    axes.set_yticks(list(places), [_label(c, cases) for c in cases], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time / time of a copy of the fewest bytes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)


def _label(case: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> str:
    """The op and the phase, and the size, split or mode where it differs from the first case."""
    words = [case["op"], case["phase"]]
    if case["size"] != cases[0]["size"]:
        words.append("x".join(map(str, case["size"])))
    elif case["op"].startswith("gated") and case["split"] != cases[0]["split"]:
        words.append("one branch" if len(case["split"]) == 1 else str(case["split"]))
    elif case["op"].startswith("skip") and case["mode"] != cases[0]["mode"]:
        words.append(case["mode"])
    return " ".join(words)
