"""Runs a tool of compute-sanitizer over one small case of each kernel: ``sanitize memcheck``."""

import os
import re
import subprocess
import sys

from benchmarks.gpu import device
from benchmarks.gpu.runner import ROOT

sys.path.insert(0, str(ROOT / "csrc" / "cuda"))
import toolkit  # noqa: E402

CASES = ROOT / "tests" / "emulator" / "sanitized_cases.py"


def main(check: str) -> None:
    device.require()
    tool = toolkit.find_tool("compute-sanitizer")
    if tool is None:
        sys.exit("compute-sanitizer was not found: put it on the PATH or set CUDA_HOME")
    command = [tool, f"--tool={check}", "--error-exitcode=9", sys.executable, str(CASES), check]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_MODULE_LOADING": "LAZY"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace")
    output = done.stdout + done.stderr
    ok, says = verdict(done.returncode, output)
    if not ok:
        print(output)
    print(says)
    sys.exit(0 if ok else 1)


def verdict(code: int, output: str) -> tuple[bool, str]:
    """Whether the check passed, and a sentence. It passes with no errors and at least one call."""
    error = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", output)
    calls = re.search(r"^(\d+) calls$", output, re.MULTILINE)
    if error is None:
        lines = output.strip().splitlines()
        return False, f"no summary: {lines[-1] if lines else f'exit code {code}, no output'}"
    if calls is None or int(calls[1]) == 0:
        return False, f"{error[1]} errors, but the cases did not run to their end"
    return code == 0 and error[1] == "0", f"{error[1]} errors in {calls[1]} calls"


if __name__ == "__main__":
    main(sys.argv[1])
