"""The device and the precision that a network runs with."""

from contextlib import AbstractContextManager

import torch

from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.ops.processor import bf16_on_cpu
from softgate_ext.runs.options import Amp


def resolve_device(name: str) -> torch.device:
    """The device of a name: `auto` (CUDA if available), `cpu`, `cuda` or `cuda:N`.

    Raises:
        InputError: there is no such device.
    """
    if not isinstance(name, str):
        raise InputError(f"device: got {name!r:.80}; takes auto, cpu, cuda or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device: got {name!r}; takes auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(
            f"device: got {name!r}, but PyTorch sees {counted(count, 'CUDA device[s]')}; try cpu"
        )
    return device


def autocast(device: torch.device, amp: Amp) -> AbstractContextManager[object]:
    """A context with autocast to bfloat16, or without, depending on `amp`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=in_bf16(device, amp))


def in_bf16(device: torch.device, amp: Amp) -> bool:
    """Whether convolutions run in bfloat16; with `auto`, if the device multiplies it natively."""
    return amp == "bf16" or (amp == "auto" and multiplies_bf16(device))


def slow_bf16(device: torch.device, amp: Amp) -> str | None:
    """A message if `amp` asks for bfloat16 on a device that emulates it, else None."""
    if amp != "bf16" or multiplies_bf16(device):
        return None
    return (
        f"amp: bf16 is emulated on this {device.type} and slow, since it does not multiply bfloat16 "
        "natively; auto takes float32 here"
    )


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively: most GPUs, and CPUs with AVX512_BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_on_cpu() in ("vectors", "tiles")
