"""Measures eight kernels with Nsight Compute: the bytes of DRAM, hits in L2, and the share of cycles that issue.

The bytes are compared with those that docs/cuda.md states, which tests/emulator checks in the emulator.
"""

import csv
import io
import subprocess
import sys

from benchmarks.gpu import device
from benchmarks.gpu.runner import ROOT

sys.path.insert(0, str(ROOT / "csrc" / "cuda"))
import toolkit  # noqa: E402

# How many activation tensors each kernel moves in a gated_residual_bn_relu with all gradients.
ACTIVATIONS = {
    "forward_reduce": 3, "forward_normalise": 2, "forward_sliced": 4, "forward_resident": 4,
    "backward_reduce": 2, "backward_map": 6, "backward_sliced": 6, "backward_resident": 6,
}  # fmt: skip
METRICS = {
    "dram__bytes_read.sum": "read",
    "dram__bytes_write.sum": "written",
    "lts__t_sector_hit_rate.pct": "l2_hit_percent",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue_active_percent",
    "gpu__time_duration.sum": "ns",
}
SIZE, SPLIT = (32, 256, 64, 64), (128, 64, 64)


def main() -> None:
    tool = toolkit.find_tool("ncu")
    if tool is None:
        print("ncu is not installed: nothing was counted")
        return
    command = [
        tool,
        "--csv",
        "--page",
        "raw",
        "--print-units",
        "base",
        "--metrics",
        ",".join(METRICS),
    ]
    command += ["-k", f"regex:^({'|'.join(ACTIVATIONS)})"]
    calls = "from benchmarks.gpu.counters import calls; calls()"
    done = subprocess.run(
        [*command, sys.executable, "-c", calls], cwd=ROOT, capture_output=True, text=True
    )
    found = list(read(done.stdout))
    for line in found:
        device.emit(**line)
    if done.returncode != 0 or not found:
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\nncu counted nothing")
    print(f"{len(found)} kernels")


def calls() -> None:
    """Runs each variant once, forward and backward, in the layout that all of them serve."""
    from benchmarks.cases import OpCase
    from benchmarks.gpu.stress import step
    from benchmarks.peers import VARIANTS
    from benchmarks.race import forced

    case = OpCase(
        "gated_residual_bn_relu", "both", "contiguous", "bfloat16", SIZE, SPLIT, device="cuda"
    )
    run = step(case)
    for variant in VARIANTS:
        with forced(variant):
            run()


def read(output: str):
    """Yields the figures of the first launch of each kernel in ncu's table."""
    lines = output.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    rows = csv.DictReader(io.StringIO("\n".join(lines[start:])))
    seen = set()
    n, c, h, w = SIZE
    for row in rows:
        name = next((k for k in ACTIVATIONS if row["Kernel Name"].find(k) >= 0), None)
        if name is None or name in seen or not row["ID"]:  # the second row has the units
            continue
        seen.add(name)
        counts = {short: float(row[m].replace(",", "")) for m, short in METRICS.items()}
        expected = ACTIVATIONS[name] * n * c * h * w * 2
        moved = counts.pop("read") + counts.pop("written")
        yield {"kernel": name, "dram_of_emulator": round(moved / expected, 3), **counts}


if __name__ == "__main__":
    device.require()
    main()
