"""Gives all competitors the same conditions: no page faults on a CPU, cold caches on a GPU."""

import ctypes
import math

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

MAX_SETS = 32


def keep_memory() -> str:
    """Tells glibc's malloc not to return memory to the system, and describes the setting.

    By default malloc maps large blocks anew in some calls and not in others. The page faults of an
    output of 19 MB cost as much time as the op. The setting equals MALLOC_MMAP_MAX_=0 with an
    unlimited MALLOC_TRIM_THRESHOLD_ in the environment, but holds for this process from now on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    if mallopt is None or not all(mallopt(*setting) for setting in settings):
        return "as the system has it (no mallopt): page faults are part of the times"
    return "glibc, kept: mallopt(M_MMAP_MAX=0, M_TRIM_THRESHOLD=2147483647, M_TOP_PAD=67108864)"


def input_sets(set_bytes: int, device: str) -> int:
    """How many input sets are needed to exceed twice the L2 cache of the GPU. 1 on a CPU.

    At most MAX_SETS. Where so many inputs still fit the cache, the launch takes most of the time.
    """
    if device != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(MAX_SETS, 1 + math.ceil(2 * cache / max(1, set_bytes)))
