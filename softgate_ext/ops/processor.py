"""What the processor is called, and what it makes of bfloat16."""

import platform
from pathlib import Path
from typing import Literal

import torch

Bf16 = Literal["tiles", "vectors", "emulated", "unknown"]


def bf16_on_cpu() -> Bf16:
    """How the CPU multiplies bfloat16.

    "tiles" is AMX, "vectors" AVX512_BF16, "emulated" an x86 processor with neither, and "unknown" any
    other, or one of which PyTorch does not say.
    """
    # Not every PyTorch that this package works with has the query.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("amx_bf16"):
        return "tiles"
    if "avx512_bf16" not in capabilities:
        return "unknown"
    return "vectors" if capabilities["avx512_bf16"] else "emulated"


def cpu_name() -> str:
    """Model, family and stepping where the system says them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in lines)
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    name = fields.get("model name", platform.machine())
    numbers = [fields[k] for k in ("cpu family", "model", "stepping") if k in fields]
    return f"{name} (family/model/stepping {'/'.join(numbers)})" if numbers else name
