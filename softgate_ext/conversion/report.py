"""What a conversion did, what it left, and why."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One fused call.

    Attributes:
        where: path of the batch norm (or name of the node, where there is none).
        chain: what became one op, such as "add, BatchNorm, ReLU".
    """

    where: str
    chain: str


@dataclass(frozen=True)
class Left:
    """Something that stays as it was.

    Attributes:
        where: path of the module, or name of the node.
        reason: why.
    """

    where: str
    reason: str


@dataclass
class Report:
    """What `convert` did; `str()` is for reading.

    Attributes:
        changed: the fused calls.
        left: candidates that stay as they were, and modules that could not be traced.
    """

    changed: list[Change] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"converted {len(self.changed)}, left {len(self.left)}"]
        for chain, count in Counter(c.chain for c in self.changed).most_common():
            first = next(c.where for c in self.changed if c.chain == chain)
            lines.append(f"  {count} x {chain} (first: {first})")
        for reason, count in Counter(item.reason for item in self.left).most_common():
            first = next(item.where for item in self.left if item.reason == reason)
            lines.append(f"  left {count} x: {reason} (first: {first})")
        return "\n".join(lines)
