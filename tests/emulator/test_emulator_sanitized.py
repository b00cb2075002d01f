"""The emulated kernels under AddressSanitizer and UBSan, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import emulator_build
import pytest

pytestmark = pytest.mark.proof("emulator")

HERE = Path(__file__).resolve().parent
CASES = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
import torch
from dataclasses import replace
from emulator_calls import CLUSTER_GPU, DTYPES, SMALL_GPU, Machine
from emulator_checks import check
from emulator_ops import LAYOUTS
from sanitized_cases import OPS, variants_of
torch.set_num_threads(1)
library, served = Path({library!r}), 0
for layout in LAYOUTS:
    for dtype in DTYPES:
        for op in OPS:
            for size in ((2, 4, 8), (3, 2, 6)):
                case = replace(op, size=size, layout=layout, dtype=dtype)
                for variant in variants_of(case):
                    device = CLUSTER_GPU if variant == "resident" else SMALL_GPU
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
    assert int(done.stdout.split()[0]) > 400
