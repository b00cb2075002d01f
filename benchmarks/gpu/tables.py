"""Writes the results of a leg as Markdown: how each step ended, and a table of its results."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.runner import Done


def page(leg: int, done: Sequence[Done]) -> str:
    lines = [f"# Leg {leg} on a GPU", "", *table([_row(d) for d in done])]
    for d in done:
        if d.found:
            lines += ["", f"## {d.step}", "", *table([_flat(line) for line in d.found])]
    return "\n".join(lines) + "\n"


def _row(d: Done) -> dict[str, Any]:
    return {"step": d.step, "result": d.state, "seconds": f"{d.seconds:.1f}", "": d.says[:200]}


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its kernels in one cell."""
    cells = dict(line)
    if kernels := cells.get("kernels"):
        cells["kernels"] = ", ".join(f"{name[:40]} {us}" for name, us in kernels.items())
    return cells


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of a Markdown table with one column for every key of the rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = ["" if row.get(n) is None else str(row[n]).replace("|", "\\|") for n in names]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
