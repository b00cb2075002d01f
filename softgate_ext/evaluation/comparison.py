"""Scores of several predictors on the same samples, as JSON and as tables for a terminal."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from softgate_ext.files.console import caption, cell
from softgate_ext.files.counted import counted
from softgate_ext.pose.metrics import half_up
from softgate_ext.pose.protocol import Protocol, Score


@dataclass(frozen=True)
class Comparison:
    """The result of `softgate evaluate`.

    Attributes:
        protocol: the rules of the benchmark.
        people: number of samples that were evaluated.
        left_out: number of samples that were not, because their reference length is not known.
        scores: the scores of each predictor by its name.
        about: the conditions of the evaluation, for the JSON.
        notes: notes to print below a table.
        sides: "person-centric" or "observer-centric", if that is known.
    """

    protocol: Protocol
    people: int
    left_out: int
    scores: dict[str, Score]
    about: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sides: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The unrounded scores as a dictionary for `json`."""
        return {
            "metric": self.protocol.metric,
            "unit": self.protocol.unit,
            **({"labels": self.sides} if self.sides else {}),
            **self.about,
            "people": self.people,
            "left_out": self.left_out,
            "rows": [{"name": name, **score.to_json()} for name, score in self.scores.items()],
        }

    def table(self) -> Table:
        """A table with a row for each predictor, and a column for each column of published tables."""
        titles = list(self.protocol.columns)
        table = Table(title=cell(self._title()), box=box.SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("predictions", no_wrap=True)
        for title in (*titles, "mean", "weighted mean", *self._totals()):
            table.add_column(title, justify="right", no_wrap=True)
        for name, score in self.scores.items():
            columns = score.pck.grouped(self.protocol.columns)
            values = [*columns.values(), score.pck.mean, score.pck.pooled]
            values += score.totals().values()
            table.add_row(cell(name), *map(self._print, values))
        table.caption = caption(self._caption())
        return table

    def details(self) -> Table:
        """A table with a column for each predictor, and rows for joints, published columns and means."""
        table = Table(title=cell(self._title()))
        table.add_column("joint")
        for name in self.scores:
            table.add_column(cell(name), justify="right")

        def row(title: str, value: Callable[[Score], float], style: str | None = None) -> None:
            values = (self._print(value(score)) for score in self.scores.values())
            table.add_row(cell(title), *values, style=style)

        for index, name in enumerate(self.protocol.skeleton.joints):
            row(name.replace("_", " "), lambda s, i=index: float(s.pck.per_joint[i]))  # type: ignore[misc]
        table.add_section()
        columns = self.protocol.columns
        for title in columns:
            row(title, lambda s, t=title: s.pck.grouped(columns)[t])  # type: ignore[misc]
        table.add_section()
        row("mean", lambda s: s.pck.mean, "bold")
        row("weighted mean", lambda s: s.pck.pooled, "bold")
        for name in self._totals():
            row(name, lambda s, n=name: s.totals()[n])  # type: ignore[misc]
        table.caption = caption(self._caption())
        return table

    def _title(self) -> str:
        sides = f" {self.sides}," if self.sides else ""
        return f"{self.protocol.metric} of {counted(self.people, '[person|people]')},{sides} in percent"

    def _totals(self) -> list[str]:
        return [*next(iter(self.scores.values())).totals()]

    def _print(self, value: float) -> str:
        return half_up(value, self.protocol.digits)

    def _caption(self) -> str:
        first = next(iter(self.scores.values()))
        sentences = [f"unit: {self.protocol.unit}"]
        if first.precision:
            sentences.append("joints and means: similarity; AP and AR: COCO's evaluation")
        if means := [name for name in first.totals() if name not in first.precision]:
            sentences.append(f"{', '.join(means)}: weighted means")
        if self.left_out:
            sentences.append(left_out_words(self.left_out))
        return "\n".join([*sentences, *self.notes])


def left_out_words(count: int) -> str:
    """The note on samples that are left out because they have no reference length."""
    return counted(count, "[person|people] left out: the unit of the metric is not labelled")
