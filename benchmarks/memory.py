"""Memory that is warm for every competitor alike, and input sets that a GPU's cache cannot hold."""

import ctypes
import math

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

MAX_SETS = 32


def keep_memory() -> str:
    """Tells glibc's malloc to keep what it has been given; returns what was done, for the report.

    By default it maps large blocks afresh on some calls and not on others, and the page faults of
    an output of 19 MB cost as much as the op. The same as MALLOC_MMAP_MAX_=0 with unlimited
    MALLOC_TRIM_THRESHOLD_ in the environment, but for this process and from now on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    if mallopt is None or not all(mallopt(*setting) for setting in settings):
        return "as the system has it (no mallopt): page faults are part of the times"
    return "glibc, kept: mallopt(M_MMAP_MAX=0, M_TRIM_THRESHOLD=2147483647, M_TOP_PAD=67108864)"


def input_sets(set_bytes: int, device: str) -> int:
    """How many input sets exceed the L2 cache of the GPU twice over; 1 on a CPU.

    No more than MAX_SETS: inputs so small that these still fit are bound by launches, not memory.
    """
    if device != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(MAX_SETS, 1 + math.ceil(2 * cache / max(1, set_bytes)))
