"""What a rewriting did, what it left, and why."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fused:
    """One fused call.

    Attributes:
        where: path of the module that the batch norm is, or that adds where there is none.
        chain: what became one op, such as "add, BatchNorm, ReLU".
    """

    where: str
    chain: str


@dataclass(frozen=True)
class Left:
    """Something that stays as it was.

    Attributes:
        where: path of a module.
        reason: why.
    """

    where: str
    reason: str


@dataclass
class Report:
    """What was done to the graphs that Dynamo traced; `str()` is for reading.

    Attributes:
        fused: the fused calls.
        left: candidates that stay as they were.
        graphs: how many graphs were traced: more than one where the forward does what none holds.
        breaks: why a graph ended before its forward did.
        winograd: paths of the convolutions that are Winograd's, where those were asked for.
        direct: those that stay direct.
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
