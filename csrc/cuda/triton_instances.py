"""Compiles instances of the Triton kernels with packs of 16 bytes, for the table of the CUDA kernels.

They are compiled by the ptxas of Triton, which also compiles them on a machine with a GPU.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from compiled_kernel import Kernel

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = ("contiguous", "channels_last")
DTYPES = ("bfloat16", "float32")
CHANNELS = 256
OPS = (
    "bn_relu train",
    "bn_relu_backward train",
    "gated_residual_bn_relu train",
    "gated_residual_bn_relu eval",
    "gated_residual_bn_relu_backward train",
    "skip_merge_bn_relu add train",
    "skip_merge_bn_relu_backward add train",
)


def triton_kernels(archs: Iterable[int]) -> dict[int, list[Kernel]]:
    """The kernels for each architecture, in the same order; empty lists if Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        return {arch: [] for arch in archs}
    os.environ.pop("TRITON_INTERPRET", None)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "triton_kernels")]
    compiler, report = (importlib.import_module(name) for name in ("compiler", "report"))
    import torch

    launches = {}
    for dtype in DTYPES:
        for layout in LAYOUTS:
            form = torch.channels_last if layout == LAYOUTS[1] else torch.contiguous_format
            for op, call in report.calls(getattr(torch, dtype), form, CHANNELS):
                for launch in compiler.launches_of(call) if op in OPS else ():
                    name = f"triton {report.name_of(launch)}"
                    if name == "triton residual._forward" and op.endswith("eval"):
                        name += ", inference"
                    if not name.startswith("triton reduction"):
                        launches.setdefault((name, dtype, layout), launch)
    return {
        arch: [
            compiler.compiled_cuda(
                launches[key],
                arch,
                key[0],
                dtype=key[1],
                itemsize=getattr(torch, key[1]).itemsize,
                channels_last=key[2] == LAYOUTS[1],
                upsample2x="merge" in key[0],
            )
            for key in sorted(launches)
        ]
        for arch in archs
    }
