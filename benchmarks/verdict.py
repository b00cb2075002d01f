"""What a run on a GPU found: stages and their steps, shares of the copy rate, and the tables of both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Share of the copy rate, on ideal bytes, that gated_residual_bn_relu is held to.
GOALS = {"forward": 0.85, "inference": 0.90, "backward": 0.80}


@dataclass
class Step:
    """One command of a stage, and how it ended; `output` is kept where it failed."""

    name: str
    ok: bool
    seconds: float
    says: str
    output: str = ""


@dataclass
class Stage:
    name: str
    steps: list[Step]
    seconds: float

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)


def shares(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How much of the copy rate each case reaches, by the automatic choice and by each variant."""
    found = []
    for record in records:
        info, sides = record["extra_info"], record["extra_info"]["competitors"]
        if "copy" not in sides:
            continue
        rate = {name: sides["copy"]["median"] / s["median"] for name, s in sides.items()}
        goal = GOALS.get(info["phase"]) if info["op"] == "gated_residual_bn_relu" else None
        found.append(
            {
                **{key: info[key] for key in ("op", "phase", "layout", "dtype")},
                "copy_gb_s": sides["copy"]["bytes"] / sides["copy"]["median"] / 1e9,
                "shares": {name: share for name, share in rate.items() if name != "copy"},
                "goal": goal,
                "reached": None if goal is None else rate["fused"] >= goal,
            }
        )
    return found


def summary(stages: Sequence[Stage]) -> str:
    lines = ["# The GPU's verdict", "", "| stage | step | result | seconds | |", "|---" * 5 + "|"]
    for stage in stages:
        for step in stage.steps:
            result = "passed" if step.ok else "FAILED"
            says = step.says.replace("|", "\\|")[:200]
            lines.append(f"| {stage.name} | {step.name} | {result} | {step.seconds:.1f} | {says} |")
    return "\n".join(lines) + "\n"


def share_table(found: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in found for name in row["shares"]))
    beside = {"fused", "triton"} <= set(names)  # the choice among the CUDA kernels, and Triton's
    head = ["op", "phase", "layout", "dtype", "copy GB/s", *names]
    head += ["fused faster than triton"] * beside + ["goal"]
    lines = ["## Share of the copy rate, on the fewest bytes", "", f"| {' | '.join(head)} |"]
    lines.append("|---" * len(head) + "|")
    for row in found:
        cells = [row[key] for key in ("op", "phase", "layout", "dtype")]
        cells.append(f"{row['copy_gb_s']:.0f}")
        cells += [f"{row['shares'][n]:.2f}" if n in row["shares"] else "" for n in names]
        if beside:
            both = "triton" in row["shares"]
            ratio = row["shares"]["fused"] / row["shares"]["triton"] if both else None
            cells.append("" if ratio is None else f"{ratio:.2f}x")
        reached = "reached" if row["reached"] else "missed"
        cells.append("" if row["goal"] is None else f"{row['goal']:.2f} {reached}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
