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
    """

    fused: list[Fused] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    graphs: int = 0
    breaks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        graphs = "1 graph" if self.graphs == 1 else f"{self.graphs} graphs"
        lines = [f"fused {len(self.fused)}, left {len(self.left)}, in {graphs}"]
        for chain, count in Counter(c.chain for c in self.fused).most_common():
            first = next(c.where for c in self.fused if c.chain == chain)
            lines.append(f"  {count} x {chain} (first: {first})")
        for reason, count in Counter(item.reason for item in self.left).most_common():
            first = next(item.where for item in self.left if item.reason == reason)
            lines.append(f"  left {count} x: {reason} (first: {first})")
        lines += [f"  a graph ends here: {reason}" for reason in dict.fromkeys(self.breaks)]
        return "\n".join(lines)
