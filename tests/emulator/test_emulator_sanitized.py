"""The emulated kernels under AddressSanitizer and UBSan, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import emulator_build
import pytest

HERE = Path(__file__).resolve().parent
CASES = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
import torch
from emulator_calls import CLUSTER_GPU, SMALL_GPU, Machine
from emulator_checks import check
from emulator_ops import LAYOUTS, Case
torch.set_num_threads(1)
library, served = Path({library!r}), 0
for layout in LAYOUTS:
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for op, widths, low in (("residual", (16, 10, 6), 0), ("plain", (24,), 0),
                                ("add", (16,), 16), ("concat", (5, 4), 7)):
            for size in ((2, 4, 8), (3, 2, 6)):
                case = Case(op, widths, size, low=low, layout=layout, dtype=dtype)
                for variant, device in (("two_pass", SMALL_GPU), ("sliced", SMALL_GPU),
                                        ("resident", CLUSTER_GPU)):
                    served += check(library, case, Machine(variant, device))
print(served, "calls")
"""


@pytest.mark.slow
def test_no_sanitizer_complains():
    reason = emulator_build.why_not()
    if reason:
        pytest.skip(reason)
    libraries = [
        subprocess.run(["g++", f"-print-file-name=lib{name}.so"], capture_output=True, text=True)
        for name in ("asan", "ubsan")
    ]
    library = emulator_build.build(sanitize=True)
    script = CASES.format(here=str(HERE), root=str(HERE.parents[1]), library=str(library))
    environment = {
        "LD_PRELOAD": " ".join(found.stdout.strip() for found in libraries),
        "ASAN_OPTIONS": "detect_leaks=0,detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout.split()[0]) > 60
