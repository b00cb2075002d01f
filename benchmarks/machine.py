"""Describes the machine and the versions of a measurement, for the head of every result file."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from softgate_ext.ops import backend
from softgate_ext.ops.processor import cpu_name

_CPU = Path("/sys/devices/system/cpu/cpu0/cache")


def describe_machine() -> dict[str, Any]:
    """Processor, caches, threads, versions, kernels in use, and GPU, as JSON values."""
    info = backend.info()
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "caches": _caches(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "isa": info["build"].get("cpu"),
        "compiler": info["build"].get("compiler"),
        "auto": info["auto"],
        "python": info["python"],
        "torch": info["torch"],
        "triton": info["triton"],
        "inductor_isa": _inductor_isa(),
        "gpu": _gpu(),
    }


def _caches() -> dict[str, str]:
    caches = {}
    for index in sorted(_CPU.glob("index*")):
        level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        if kind != "Instruction":
            caches[f"L{level}"] = size
    return caches


def _inductor_isa() -> str | None:
    """The vector instructions that torch.compile uses. None where it was not used here."""
    # Importing the module would start torch.compile.
    module = sys.modules.get("torch._inductor.cpu_vec_isa")
    return str(module.pick_vec_isa()) if module is not None else None


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": properties.L2_cache_size,
        "cuda": torch.version.cuda,
    }
