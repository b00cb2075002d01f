"""All that only a GPU can tell, in one go: ``make gpu``, or ``python -m benchmarks.gpu``.

Five stages, each a command or a few, timed, whose failures are kept:

    build     the extension, in place, for the GPU that is here, and the tests' cases for it
    test      the test suite, with the bodies that take a device on this one
    cases     the emulator's cases on real hardware
    sanitize  memcheck, racecheck, synccheck and initcheck over one small case of each kernel
    bench     ops of the size that the kernels' goals are held to, beside a copy in the same run;
              what a call of a Triton op costs on the CPU

Writes gpu.json and gpu.md; exits with 1 where a stage failed. Needs no network and installs nothing.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.verdict import Stage, Step, share_table, shares, summary

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "csrc" / "cuda"))
import toolkit  # noqa: E402

EMULATOR = ROOT / "tests" / "emulator"
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
SIZE = "32x256x64x64"
STEP_SECONDS = 900  # then a step hangs: a barrier that not all blocks reach never ends


def run(
    name: str,
    command: Sequence[str],
    verdict: Callable[[int, str], tuple[bool, str]] | None = None,
    **env: str,
) -> Step:
    """Runs a command from the root of the repository; the end of its output is kept if it failed."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=STEP_SECONDS,
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
        output = printed if isinstance(printed, str) else printed.decode(errors="replace")
        code, output = 124, f"{output}\nnot done after {STEP_SECONDS} s"
    except OSError as error:
        code, output = 127, str(error)
    ok, says = (verdict or last_line)(code, output)
    return Step(name, ok, time.perf_counter() - start, says, "" if ok else output[-12000:])


def last_line(code: int, output: str) -> tuple[bool, str]:
    lines = [line.strip(" =") for line in output.splitlines() if line.strip(" =")]
    return code == 0, lines[-1] if lines else f"exit code {code}, no output"


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def pytest(*arguments: str) -> list[str]:
    """pytest with whatever plugins there are; one thread a process, where there are several."""
    count = min(8, os.cpu_count() or 1)
    parallel = ["-n", str(count)] if importlib.util.find_spec("xdist") and count > 1 else []
    return python("-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel, *arguments)


# Stages


def build(_: argparse.Namespace) -> Iterable[Callable[[], Step]]:
    import torch

    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    cores = os.cpu_count() or 1
    env = {"SOFTGATE_CUDA": "1", "MAX_JOBS": os.environ.get("MAX_JOBS", str(cores))}
    env["TORCH_CUDA_ARCH_LIST"] = os.environ.get("TORCH_CUDA_ARCH_LIST", capability)
    library = f"import sys; sys.path.insert(0, {str(EMULATOR)!r}); import emulator_build as b; "
    library += "print(b.build_on_device())"
    return [
        lambda: run("extension", python("setup.py", "build_ext", "--inplace"), **env),
        lambda: run("cases", python("-c", library)),
    ]


def test(_: argparse.Namespace) -> Iterable[Callable[[], Step]]:
    command = pytest("tests", "-m", "gpu or not slow", "--ignore=tests/emulator")
    return [lambda: run("suite", command, OMP_NUM_THREADS="1")]


def cases(_: argparse.Namespace) -> Iterable[Callable[[], Step]]:
    return [lambda: run("cases", pytest(str(EMULATOR), "-m", "gpu"), OMP_NUM_THREADS="1")]


def sanitize(_: argparse.Namespace) -> Iterable[Callable[[], Step]]:
    tool = toolkit.find_tool("compute-sanitizer")
    if tool is None:
        says = "compute-sanitizer was not found: put it on the PATH or set CUDA_HOME"
        return [lambda: Step("compute-sanitizer", False, 0.0, says)]
    script = str(EMULATOR / "sanitized_cases.py")
    env = {"OMP_NUM_THREADS": "1", "CUDA_MODULE_LOADING": "LAZY"}

    def step(check: str) -> Callable[[], Step]:
        command = [tool, f"--tool={check}", "--error-exitcode=9", *python(script, check)]
        return lambda: run(check, command, sanitizer_verdict, **env)

    return [step(check) for check in SANITIZERS]


def sanitizer_verdict(code: int, output: str) -> tuple[bool, str]:
    """Clean only where the tool counted no error and kernels did run below it."""
    error = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", output)
    calls = re.search(r"^(\d+) calls$", output, re.MULTILINE)
    if error is None:
        return False, f"no summary: {last_line(code, output)[1]}"
    if calls is None or int(calls[1]) == 0:
        return False, f"{error[1]} errors, but the cases did not run to their end"
    return code == 0 and error[1] == "0", f"{error[1]} errors in {calls[1]} calls"


def bench(options: argparse.Namespace) -> Iterable[Callable[[], Step]]:
    peers = "two_pass,sliced,resident,triton,eager,compile"
    command = python("-m", "benchmarks.run", "--device", "cuda", "--json", str(bench_file(options)))
    command += ["--peers", peers, "--seconds", "0.5", "-k", options.select]
    return [
        lambda: run("benchmarks", [*command, "-p", "no:cacheprovider"], measured),
        lambda: run("launches of Triton", python("-m", "benchmarks.triton_launch"), launches),
    ]


def measured(code: int, output: str) -> tuple[bool, str]:
    """The line of pytest's count; the tables follow it."""
    lines = [line.strip(" =") for line in output.splitlines()]
    counts = [line for line in lines if re.search(r"\d+ (passed|failed|error)", line)]
    return code == 0, counts[-1] if counts else last_line(code, output)[1]


def launches(code: int, output: str) -> tuple[bool, str]:
    """What a call costs the CPU over a bare launch, by op."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    ratios = ", ".join(f"{line['op']} {line['ratio']}" for line in lines)
    return code == 0 and bool(lines), f"of a bare launch: {ratios}"


def bench_file(options: argparse.Namespace) -> Path:
    return options.out / "bench.json"


STAGES: dict[str, Callable[[argparse.Namespace], Iterable[Callable[[], Step]]]] = {
    "build": build,
    "test": test,
    "cases": cases,
    "sanitize": sanitize,
    "bench": bench,
}
SIDE_BY_SIDE = {"build", "sanitize"}  # the others fill the machine, or measure it


def run_stage(name: str, options: argparse.Namespace) -> Stage:
    start = time.perf_counter()
    steps = list(STAGES[name](options))
    with ThreadPoolExecutor(len(steps) if name in SIDE_BY_SIDE else 1) as pool:
        done = list(pool.map(lambda step: step(), steps))
    return Stage(name, done, time.perf_counter() - start)


# Results


def write(stages: Sequence[Stage], options: argparse.Namespace) -> str:
    """gpu.json and gpu.md; returns the latter."""
    stored: dict[str, Any] = {
        "python": sys.version.split()[0],
        "ok": all(stage.ok for stage in stages),
        "stages": [{**asdict(stage), "ok": stage.ok} for stage in stages],
    }
    text = summary(stages)
    measured = bench_file(options)
    if measured.is_file():
        stored["benchmarks"] = json.loads(measured.read_text())
        stored["shares"] = shares(stored["benchmarks"]["benchmarks"])
        text += "\n" + share_table(stored["shares"])
        details = measured.with_suffix(".md")
        text += "\n" + details.read_text() if details.is_file() else ""
    (options.out / "gpu.json").write_text(json.dumps(stored, indent=1) + "\n")
    (options.out / "gpu.md").write_text(text)
    return text


def no_gpu() -> str | None:
    """Why there is nothing to do here, or None."""
    if importlib.util.find_spec("torch") is None:
        return f"{sys.executable} has no torch"
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--stages", default=",".join(STAGES), help="of %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder")
    parser.add_argument("--select", default=SIZE, help="benchmarks by name, as pytest's -k")
    options = parser.parse_args(arguments)
    options.stages = options.stages.split(",")
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"--stages must be of {','.join(STAGES)}, got '{unknown[0]}'")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    reason = no_gpu()
    if reason is not None:
        print(f"make gpu needs a CUDA device: {reason}.", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    if "bench" in options.stages:
        bench_file(options).unlink(missing_ok=True)
    stages: list[Stage] = []
    for name in options.stages:
        stages.append(run_stage(name, options))
        for step in stages[-1].steps:
            result = "passed" if step.ok else "FAILED"
            print(f"{name} {step.name}: {result} in {step.seconds:.0f} s: {step.says}", flush=True)
            print(step.output, end="", flush=True)
        text = write(stages, options)  # after every stage: what was found is kept, come what may
    print(text)
    return 0 if all(stage.ok for stage in stages) else 1


if __name__ == "__main__":
    raise SystemExit(main())
