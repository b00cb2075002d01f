"""The name of the processor, and how it multiplies bfloat16."""

import platform
from pathlib import Path
from typing import Literal

import torch

Bf16 = Literal["tiles", "vectors", "emulated", "unknown"]


def bf16_on_cpu() -> Bf16:
    """How the CPU multiplies bfloat16.

    Returns:
        "tiles" for AMX, "vectors" for AVX512_BF16, "emulated" for an x86 processor with neither, and
        "unknown" for any other processor, or if PyTorch cannot tell.
    """
    # The oldest supported PyTorch has no such query.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("amx_bf16"):
        return "tiles"
    if "avx512_bf16" not in capabilities:
        return "unknown"
    return "vectors" if capabilities["avx512_bf16"] else "emulated"


def cpu_name() -> str:
    """The processor's model name, with family, model and stepping if the system reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in lines)
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    name = fields.get("model name", platform.machine())
    numbers = [fields[k] for k in ("cpu family", "model", "stepping") if k in fields]
    return f"{name} (family/model/stepping {'/'.join(numbers)})" if numbers else name
