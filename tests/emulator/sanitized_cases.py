"""Runs one small case of each kernel on the GPU under compute-sanitizer: ``sanitized_cases.py memcheck``.

torch runs on the CPU, so that the sanitizer sees only the kernels of csrc/cuda.
"""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import emulator_build  # noqa: E402
import torch  # noqa: E402
from emulator_calls import CLUSTER_GPU, Machine  # noqa: E402
from emulator_checks import check  # noqa: E402
from emulator_ops import LAYOUTS, Case  # noqa: E402

TRAINING = (
    Case("residual", (16, 8, 8), (3, 8, 16)),
    Case("residual", (20, 6, 6), (3, 8, 16)),  # channels_last: branches end within packs
    Case("residual", (5,), (3, 5, 7)),  # packs of one value
    Case("plain", (24,), (3, 8, 16)),
    Case("add", (16,), (3, 8, 16), low=16),
    Case("concat", (8, 8), (3, 8, 16), low=16),
    Case("concat", (12, 6, 6), (3, 8, 16), low=8),
    Case("concat", (5, 4), (3, 6, 10), low=7),
)
# Statistics that are known, or none: all of inference, and gradients that no norm passed.
OPS = (
    *TRAINING,
    *(replace(op, norm="evaluation") for op in TRAINING),
    *(replace(op, norm="none") for op in TRAINING if op.op != "plain"),
)


def variants_of(case: Case) -> tuple[str, ...]:
    """Where no statistics are made there is one."""
    return ("two_pass", "sliced", "resident") if case.norm == "training" else ("automatic",)


def run_cases(library: Path, tool: str) -> int:
    """How many calls were served, forward and backward; their values are checked on the way."""
    calls = 0
    for layout, dtype, op in itertools.product(LAYOUTS, (torch.float32, torch.bfloat16), OPS):
        case = replace(op, layout=layout, dtype=dtype)
        for variant in variants_of(case):
            # initcheck takes a memset for a write: it would miss what no kernel wrote.
            machine = Machine(variant, CLUSTER_GPU, poison=tool != "initcheck")
            calls += 2 * check(library, case, machine)
    return calls


def main(tool: str) -> None:
    torch.set_num_threads(1)
    print(f"{run_cases(emulator_build.build_on_device(), tool)} calls")


if __name__ == "__main__":
    main(sys.argv[1])
