"""The report of a rewriting: what was fused, what was not, and why."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fused:
    """One fused call.

    Attributes:
        where: path of the batch norm, or of the module that adds if there is no batch norm.
        chain: the ops that became one, such as "add, BatchNorm, ReLU".
    """

    where: str
    chain: str


@dataclass(frozen=True)
class Left:
    """A candidate that was not rewritten.

    Attributes:
        where: path of the module.
        reason: why it was not rewritten.
    """

    where: str
    reason: str


@dataclass
class Report:
    """The report on all graphs that Dynamo traced; `str()` makes a text of it.

    Attributes:
        fused: the fused calls.
        left: candidates that were not fused.
        graphs: the number of traced graphs; more than one if the forward has graph breaks.
        breaks: the reasons of the graph breaks.
        winograd: paths of the convolutions that use Winograd's algorithm, if `conv` asked for it.
        direct: convolutions that do not use it.
    """

    fused: list[Fused] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    graphs: int = 0
    breaks: list[str] = field(default_factory=list)
    winograd: list[str] = field(default_factory=list)
    direct: list[Left] = field(default_factory=list)

    def __str__(self) -> str:
        graphs = "1 graph" if self.graphs == 1 else f"{self.graphs} graphs"
        lines = [f"fused {len(self.fused)}, left {len(self.left)}, in {graphs}"]
        for chain, count in Counter(c.chain for c in self.fused).most_common():
            first = next(c.where for c in self.fused if c.chain == chain)
            lines.append(f"  {count} x {chain} (first: {first})")
        lines += _reasons("left", self.left)
        if self.winograd or self.direct:
            count = len(self.winograd) + len(self.direct)
            first = f" (first: {self.winograd[0]})" if self.winograd else ""
            lines.append(f"  {len(self.winograd)} of {count} convolutions by Winograd{first}")
        lines += _reasons("direct", self.direct)
        lines += [f"  a graph ends here: {reason}" for reason in dict.fromkeys(self.breaks)]
        return "\n".join(lines)


def _reasons(what: str, items: list[Left]) -> list[str]:
    lines = []
    for reason, count in Counter(item.reason for item in items).most_common():
        first = next(item.where for item in items if item.reason == reason)
        lines.append(f"  {what} {count} x: {reason} (first: {first})")
    return lines
