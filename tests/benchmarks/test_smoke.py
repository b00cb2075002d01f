"""Every benchmark runs at small sizes, and its result file becomes a table and a plot."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth, report
from benchmarks.step_memory import WAYS

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Under xdist pytest-benchmark would not measure; the inner run is a session of its own.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "TRITON_INTERPRET"))}
    command = [sys.executable, "-m", "benchmarks.run", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    file = tmp_path / "quick.json"
    run = bench("--quick", "--device", "cpu", "--json", str(file), "-p", "no:cacheprovider")
    assert run.returncode == 0, run.stdout + run.stderr
    stored = json.loads(file.read_text())
    assert {entry["group"] for entry in stored["benchmarks"]} == {
        "OpCase",
        "BlockCase",
        "NetworkCase",
    }
    for entry in stored["benchmarks"]:
        sides = entry["extra_info"]["competitors"]
        assert {"fused", "eager"} <= sides.keys()
        assert all(0 < s["p20"] <= s["median"] <= s["p80"] for s in sides.values())
        # pytest-benchmark saw the fused competitor and nothing else.
        assert entry["stats"]["median"] == pytest.approx(sides["fused"]["median"], rel=1e-3)
    machine = stored["machine_info"]
    assert machine["cores"] >= 1 and machine["torch"] and "node" not in machine

    table = file.with_suffix(".md").read_text()
    assert table.strip() in run.stdout
    assert "| op | phase | shape |" in table and "copy share" in table
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", [None, "[]", '{"benchmarks": []}'])
def test_other_files(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "other.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit, match="^benchmarks.report: [^\n]*$"):
        report.main([str(file)])
    assert list(tmp_path.glob("*.md")) == []


@pytest.mark.slow
def test_compiled_competitor(tmp_path: Path) -> None:
    file = tmp_path / "compiled.json"
    chosen = "gated_residual_bn_relu-both and float32 or block-forward and float32"
    run = bench(
        "--quick", "--device", "cpu", "--peers", "compile", "-k", chosen,
        "--json", str(file), "-p", "no:cacheprovider",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    entries = json.loads(file.read_text())["benchmarks"]
    assert len(entries) == 2
    assert all(e["extra_info"]["competitors"]["compile"]["fullgraph"] for e in entries)


def test_the_cost_of_training_on_single_values_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "benchmarks.cost", "--model", "hybrid_1x32", "--size", "64"]
    assert subprocess.run(command, cwd=ROOT, timeout=600).returncode == 2
    out, err = capfd.readouterr()
    assert "batch must be 2 or more to train hybrid_1x32 on 64 x 64" in err and not out


@pytest.mark.slow
def test_cost_by_kinds_adds_up_to_the_whole() -> None:
    small = ["--model", "hybrid_1x32", "--batch", "2", "--size", "64", "--rounds", "2"]
    command = [sys.executable, "-m", "benchmarks.cost", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    tables = [table.splitlines() for table in done.stdout.split("\n\n") if table]
    assert [table[0].split()[0] for table in tables] == ["inference", "training"]
    for _, _, *rows, whole in tables:
        times = [float(re.findall(r"-?[0-9.]+(?= +-?[0-9]+%)", row)[0]) for row in rows]
        assert sum(times) == pytest.approx(float(whole.split()[-1]), abs=0.01 * len(rows))
    assert any("3x3 by Winograd" in row for row in tables[0])


@pytest.mark.slow
def test_growth_is_fitted() -> None:
    sizes = np.array([1e3, 1e5, 1e6, 1e7])
    call, rate, error = growth.fitted(1e-5 + sizes / 2e9, sizes)
    assert (call, rate) == pytest.approx((1e-5, 2e9)) and error < 1e-9
    command = [sys.executable, "-m", "benchmarks.growth", "--seconds", "0.001"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("us by ") == 16 and done.stdout.count(" us a call + bytes / ") == 8


@pytest.mark.slow
def test_memory_of_a_step() -> None:
    small = ["--model", "hybrid_1x32", "--batch", "2", "--size", "64", "--steps", "1"]
    command = [sys.executable, "-m", "benchmarks.step_memory", *small, "--dtypes", "float32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    _, *lines = map(json.loads, done.stdout.splitlines())
    assert [line["way"] for line in lines] == list(WAYS)
    assert all(line["ms"] > 0 for line in lines) and lines[0]["of_eager"] == {"gb": 1.0, "ms": 1.0}
