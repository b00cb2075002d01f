"""Runs the steps of a leg, each in a process that is stopped at its limit, and collects their results."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.legs import LEG_SECONDS, Step

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = 3  # exit status of a step that found no device
STATES = {0: "passed", NO_DEVICE: "no device"}  # any other status: the step failed


@dataclass
class Done:
    """How a step ended.

    Attributes:
        state: "passed", "failed", "stopped" (at its limit), "no device" or "not run".
        says: its last line, or the reason why it did not end.
        output: the end of its output, where it did not pass.
        found: the results that it printed, from lines of JSON.
    """

    step: str
    state: str
    seconds: float = 0.0
    says: str = ""
    output: str = ""
    found: list[dict[str, Any]] = field(default_factory=list)


def run_leg(
    groups: Sequence[Sequence[Step]],
    out: Path,
    keep: Callable[[list[Done]], None],
    seconds: float = LEG_SECONDS,
) -> list[Done]:
    """Runs all steps in order.

    Args:
        groups: groups of steps. The steps of a group run in parallel.
        out: folder for the output of the steps, one file each.
        keep: called after every group with all steps that have ended.
        seconds: time limit of the leg. At the limit a step is stopped, and later ones are not run.
    """
    end = time.monotonic() + seconds
    done: list[Done] = []
    for group in groups:
        with ThreadPoolExecutor(len(group)) as pool:
            done += pool.map(lambda step: run_step(step, out, end - time.monotonic()), group)
        keep(done)
    return done


def run_step(step: Step, out: Path, left: float) -> Done:
    """Runs one step, `left` seconds before its leg ends. At the limit its processes are killed."""
    if left <= 0:
        return Done(step.name, "not run", says="the leg's time is up")
    limit, start = min(step.limit, left), time.monotonic()
    log = out / f"{step.name.replace(' ', '-')}.log"
    command = [sys.executable, "-u", "-m", f"benchmarks.gpu.{step.module}", *step.arguments]
    with log.open("w") as printed:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
            state = STATES.get(code, "failed")
        except subprocess.TimeoutExpired:
            state = "stopped"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    lines = log.read_text(errors="replace").splitlines()
    found = [line for line in map(_parsed, lines) if line is not None]
    words = [line.strip(" =") for line in lines if line.strip(" =") and _parsed(line) is None]
    says = words[-1] if words else f"{len(found)} results"
    if state == "stopped":
        says = f"not done after {limit:.0f} s; {len(found)} results are kept"
    output = "" if state in ("passed", "no device") else "\n".join(lines)[-12000:]
    return Done(step.name, state, time.monotonic() - start, says, output, found)


def _parsed(line: str) -> dict[str, Any] | None:
    """The result on a line of output, or None."""
    try:
        return json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None


def stored(done: Sequence[Done]) -> dict[str, Any]:
    """The content of a leg's JSON file."""
    return {
        "python": sys.version.split()[0],
        "ok": all(d.state == "passed" for d in done),
        "steps": [asdict(d) for d in done],
    }
